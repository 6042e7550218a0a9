"""Results of one scoring pass over a pool of candidates; docs/evaluation.md describes the files.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from erprm.data.pools import GradedPool, PoolProblem
from erprm.metrics.evaluation import (
    accuracy_curve,
    differences,
    differences_to_baseline,
    entropic_vote_values,
    pool_values,
    powers_of_two,
    score_values,
)
from erprm.metrics.functional.aggregation import AGGREGATIONS, OF_SHARES_ONLY, Aggregation, aggregate_pool
from erprm.metrics.functional.entropic_vote import default_eta
from erprm.metrics.functional.peak import LEAST_CANDIDATES, peak_of_best_of_n
from erprm.metrics.functional.text_features import repeated_share
from erprm.metrics.reward_hacking import favoured_features, reward_hacking

__all__ = ["pool_results"]

VOTE_ETAS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Eta of the entropic vote in the curves over eta, in units of the default one."""


def pool_results(
    pool: Sequence[PoolProblem],
    graded: GradedPool,
    step_scores: Sequence[Tensor],
    aggregation: Aggregation = "min",
    ns: Sequence[int] | None = None,
    baseline_scores: Sequence[Tensor] | None = None,
    vote_eta: float | None = None,
) -> dict[str, Any]:
    """Accuracies of every way of choosing, their differences, groups of problems, and reward hacking.

    Args:
        pool: problems with candidates.
        graded: the same, graded.
        step_scores: for each of ``graded.solutions`` the scores of its steps; empty where it has none, or was too long
            to be scored.
        aggregation: the one that reward hacking is looked at with; best-of-n is given for all that the scores allow.
        ns: numbers of candidates; by default 1 to those of the problem that has fewest. Differences and groups are
            given at the powers of two among them, and at the largest.
        baseline_scores: step scores of another scorer of the same candidates, to compare each method with.
        vote_eta: eta of the entropic vote; by default :func:`erprm.metrics.default_eta` of the scores.

    Returns:
        What ``results.json`` holds, but for what it was determined by.
    """
    smallest = int(graded.valid_PN.sum(1).min())
    all_ns = list(range(1, smallest + 1)) if ns is None else list(ns)
    few_ns = powers_of_two(smallest) if ns is None else all_ns
    values = {**_score_values(graded, step_scores, aggregation, vote_eta), **pool_values(graded)}
    scores_PN = aggregate_pool(step_scores, graded.valid_PN, aggregation)
    results: dict[str, Any] = {
        "pool": _description(graded, step_scores),
        "aggregation": aggregation,
        "methods": {method: asdict(accuracy_curve(values_PN, all_ns)) for method, values_PN in values.items()},
        "differences": [asdict(difference) for difference in differences(values, few_ns)],
        "differences_to_baseline": [],
        "groups": _groups(pool, values, few_ns),
        "entropic_vote": None,
        "reward_hacking": None,
    }
    if baseline_scores is not None:
        baseline = _score_values(graded, baseline_scores, aggregation, vote_eta)
        results["differences_to_baseline"] = [
            asdict(each) for each in differences_to_baseline(values, baseline, few_ns)
        ]
    if scores_PN.isfinite().any():
        results["entropic_vote"] = _votes_over_eta(graded, scores_PN, few_ns, vote_eta)
        hacking = asdict(reward_hacking(scores_PN, graded.correct_PN, graded.valid_PN, all_ns))
        hacking["extrapolated_peak"] = None
        if smallest >= LEAST_CANDIDATES and len(pool) > 1:
            peak = peak_of_best_of_n(scores_PN, graded.correct_PN, graded.valid_PN)
            hacking["extrapolated_peak"] = peak._asdict()
        favoured = favoured_features(scores_PN, graded.correct_PN, graded.valid_PN, _features(pool, graded))
        hacking["features"] = {
            name: {which: asdict(estimate) for which, estimate in estimates.items()}
            for name, estimates in favoured.items()
        }
        results["reward_hacking"] = hacking
    return results


def _score_values(
    graded: GradedPool, step_scores: Sequence[Tensor], chosen: Aggregation, vote_eta: float | None
) -> dict[str, Tensor]:
    """Value of each problem at every n, of every method that the scores allow."""
    values: dict[str, Tensor] = {}
    for aggregation in score_aggregations(step_scores, chosen):
        scores_PN = aggregate_pool(step_scores, graded.valid_PN, aggregation)
        of_scores = score_values(graded, scores_PN, vote_eta)
        values.update({f"{method}_{aggregation}": values_PN for method, values_PN in of_scores.items()})
    return values


def _votes_over_eta(graded: GradedPool, scores_PN: Tensor, ns: list[int], vote_eta: float | None) -> dict[str, Any]:
    """The entropic vote from majority to best-of-n, and what it gains on the latter, problem by problem."""
    default = default_eta(scores_PN, graded.valid_PN)
    etas = sorted({factor * default for factor in VOTE_ETAS} | ({vote_eta} if vote_eta is not None else set()))
    bon_PN = score_values(graded, scores_PN, 0.0)["bon"]
    curves = []
    for eta in etas:
        values_PN = entropic_vote_values(graded, scores_PN, eta)
        gain = differences({"entropic_vote": values_PN, "bon": bon_PN}, ns)[0]
        curves.append({"eta": eta, **asdict(accuracy_curve(values_PN, ns)), "minus_bon": asdict(gain)})
    return {"eta": default if vote_eta is None else vote_eta, "default_eta": default, "curves": curves}


def score_aggregations(step_scores: Sequence[Tensor], chosen: Aggregation) -> list[Aggregation]:
    """The aggregations that step scores allow, and the chosen one: logits are summed up only of scores in [0, 1]."""
    scores_S = torch.cat([*step_scores])
    are_shares = bool(((scores_S >= 0) & (scores_S <= 1)).all())
    allowed = [each for each in AGGREGATIONS if are_shares or each not in OF_SHARES_ONLY]
    return allowed if chosen in AGGREGATIONS else [*allowed, chosen]


def _description(graded: GradedPool, step_scores: Sequence[Tensor]) -> dict[str, int]:
    sizes_P = graded.valid_PN.sum(1)
    return {
        "problems": len(graded.problem_ids),
        "candidates": len(graded.solutions),
        "smallest": int(sizes_P.min()),
        "largest": int(sizes_P.max()),
        "distinct_texts": int((graded.texts_PN.max(1).values + 1).sum()),
        "without_answer": sum(answer is None for answer in graded.answers),
        "cut_off": sum(graded.cut_off),
        "without_steps": sum(not solution.steps for solution in graded.solutions),
        "too_long": sum(
            len(scores) == 0 < len(solution.steps)
            for solution, scores in zip(graded.solutions, step_scores, strict=True)
        ),
    }


def _groups(pool: Sequence[PoolProblem], values: Mapping[str, Tensor], ns: list[int]) -> dict[str, Any]:
    """The curves over the problems of one level, one subject."""
    members: dict[str, dict[str, list[int]]] = {}
    for number, entry in enumerate(pool):
        for kind, group in entry.problem.groups.items():
            members.setdefault(kind, {}).setdefault(group, []).append(number)
    return {
        kind: {
            group: {
                "problems": len(problems),
                "methods": {
                    name: asdict(accuracy_curve(values_PN[problems], ns)) for name, values_PN in values.items()
                },
            }
            for group, problems in sorted(groups.items())
        }
        for kind, groups in members.items()
    }


def _features(pool: Sequence[PoolProblem], graded: GradedPool) -> dict[str, Tensor]:
    texts = [text for entry in pool for text in entry.candidates]
    of_candidates = {
        "characters": [len(text) for text in texts],
        "steps": [len(solution.steps) for solution in graded.solutions],
        "repeated_text": [repeated_share(text) for text in texts],
    }
    features = {name: torch.zeros(graded.valid_PN.shape, dtype=torch.float64) for name in of_candidates}
    for name, numbers in of_candidates.items():
        features[name][graded.valid_PN] = torch.tensor(numbers, dtype=torch.float64)
    return features
