"""Results of one scoring pass over a pool of candidates; docs/evaluation.md describes the files.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from erprm.data.files.row_files import write_rows
from erprm.data.pools import GradedPool, PoolProblem
from erprm.metrics.evaluation import (
    accuracy_curve,
    differences,
    differences_to_baseline,
    pool_values,
    powers_of_two,
    score_values,
)
from erprm.metrics.functional.aggregation import AGGREGATIONS, OF_SHARES_ONLY, Aggregation, aggregate_pool
from erprm.metrics.functional.text_features import repeated_share
from erprm.metrics.reward_hacking import favoured_features, reward_hacking
from erprm.runs.atomic import encodable, write_finite_json

RESULTS_FILE, CANDIDATES_FILE = "results.json", "candidates.parquet"

CANDIDATE_SCHEMA = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("gold", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("level", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("candidate", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string()), nullable=False),
        pa.field("step_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("answer_id", pa.int32(), nullable=False),
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)


def pool_results(
    pool: Sequence[PoolProblem],
    graded: GradedPool,
    step_scores: Sequence[Tensor],
    aggregation: Aggregation = "min",
    ns: Sequence[int] | None = None,
    baseline_scores: Sequence[Tensor] | None = None,
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

    Returns:
        What ``results.json`` holds, but for what it was determined by.
    """
    smallest = int(graded.valid_PN.sum(1).min())
    all_ns = list(range(1, smallest + 1)) if ns is None else list(ns)
    few_ns = powers_of_two(smallest) if ns is None else all_ns
    values = {**_score_values(graded, step_scores, aggregation), **pool_values(graded)}
    scores_PN = aggregate_pool(step_scores, graded.valid_PN, aggregation)
    results: dict[str, Any] = {
        "pool": _description(graded, step_scores),
        "aggregation": aggregation,
        "methods": {method: asdict(accuracy_curve(values_PN, all_ns)) for method, values_PN in values.items()},
        "differences": [asdict(difference) for difference in differences(values, few_ns)],
        "differences_to_baseline": [],
        "groups": _groups(pool, values, few_ns),
        "reward_hacking": None,
    }
    if baseline_scores is not None:
        baseline = _score_values(graded, baseline_scores, aggregation)
        results["differences_to_baseline"] = [
            asdict(each) for each in differences_to_baseline(values, baseline, few_ns)
        ]
    if scores_PN.isfinite().any():
        hacking = asdict(reward_hacking(scores_PN, graded.correct_PN, graded.valid_PN, all_ns))
        favoured = favoured_features(scores_PN, graded.correct_PN, graded.valid_PN, _features(pool, graded))
        hacking["features"] = {
            name: {which: asdict(estimate) for which, estimate in estimates.items()}
            for name, estimates in favoured.items()
        }
        results["reward_hacking"] = hacking
    return results


def _score_values(graded: GradedPool, step_scores: Sequence[Tensor], chosen: Aggregation) -> dict[str, Tensor]:
    """Value of each problem at every n, of every method that the scores allow."""
    values: dict[str, Tensor] = {}
    for aggregation in score_aggregations(step_scores, chosen):
        scores_PN = aggregate_pool(step_scores, graded.valid_PN, aggregation)
        of_scores = score_values(graded, scores_PN)
        values.update({f"{method}_{aggregation}": values_PN for method, values_PN in of_scores.items()})
    return values


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


def read_step_scores(folder: Path, pool_sha256: str) -> list[Tensor]:
    """The step scores that an earlier evaluation of the same pool has written, candidate after candidate.

    Raises:
        FileNotFoundError: if the folder holds no results.
        ValueError: if they are of another pool.
    """
    if not (folder / RESULTS_FILE).is_file():
        raise FileNotFoundError(f"baseline: {str(folder)!r} holds no {RESULTS_FILE}; expected a folder that test wrote")
    found = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))["determined_by"]["pool"]["sha256"]
    if found != pool_sha256:
        raise ValueError(
            f"baseline: {folder} holds the results of another pool (sha256 {found[:16]}, here {pool_sha256[:16]}); "
            "only scores of the same candidates can be compared"
        )
    scores = pq.read_table(folder / CANDIDATES_FILE, columns=["step_scores"])["step_scores"].combine_chunks()
    scores_S = torch.from_numpy(scores.flatten().to_numpy().astype(np.float32))
    return list(scores_S.split(pc.list_value_length(scores).to_pylist()))


def write_pool_results(
    folder: Path,
    results: Mapping[str, Any],
    pool: Sequence[PoolProblem],
    graded: GradedPool,
    step_scores: Sequence[Tensor],
) -> None:
    """Writes ``candidates.parquet`` and then ``results.json``, each whole or not at all."""
    scores_PN = aggregate_pool(step_scores, graded.valid_PN, results["aggregation"])
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(_rows(pool, graded, step_scores, scores_PN), folder / CANDIDATES_FILE, CANDIDATE_SCHEMA)
    write_finite_json(results, folder / RESULTS_FILE)


def _rows(
    pool: Sequence[PoolProblem], graded: GradedPool, step_scores: Sequence[Tensor], scores_PN: Tensor
) -> Iterator[dict[str, Any]]:
    # The rank of each candidate among those of its problem, ties in the order of the pool.
    ranks_PN = scores_PN.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1
    solutions = iter(zip(graded.solutions, graded.answers, step_scores, strict=True))
    for p, entry in enumerate(pool):
        problem = entry.problem
        for n, text in enumerate(entry.candidates):
            solution, answer, of_steps = next(solutions)
            score = float(scores_PN[p, n])
            yield {
                "problem_id": encodable(problem.problem_id),
                "question": encodable(problem.question),
                "gold": encodable(problem.answer),
                "source": encodable(problem.source),
                "level": problem.groups.get("level"),
                "subject": problem.groups.get("subject"),
                "candidate": n,
                "text": encodable(text),
                "steps": [encodable(step) for step in solution.steps],
                "step_scores": of_steps.tolist(),
                "score": None if score == -torch.inf else score,
                "rank": int(ranks_PN[p, n]),
                "answer": None if answer is None else encodable(answer),
                "answer_id": int(graded.answers_PN[p, n]),
                "correct": bool(graded.correct_PN[p, n]),
            }
