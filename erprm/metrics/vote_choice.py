"""Chooses the eta of the entropic vote on graded candidates, and estimates what the choice gains on new problems.

Shape suffixes: V votes to choose from, P problems, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from erprm.metrics.estimate import Estimate
from erprm.metrics.evaluation import Candidates, entropic_vote_values, pool_values, score_values
from erprm.metrics.functional.best_of_n import best_of_n_curves
from erprm.metrics.functional.entropic_vote import score_spread
from erprm.metrics.functional.soft_best_of_n import soft_best_of_n_curves

ETAS_IN_SPREADS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 15.0, 30.0)
"""The etas to choose from, times the spread of the scores."""


@dataclass(frozen=True)
class Vote:
    """One vote of the optimal policy.

    Attributes:
        aggregation: of the scores of steps.
        eta: weights are ``exp(eta * score)``.
    """

    aggregation: str
    eta: float


@dataclass(frozen=True)
class VoteChoice:
    """The vote that is best on some problems, and what to expect of it on others.

    Attributes:
        vote: the best on all problems.
        chosen: the best on all problems but those of one fold, for each fold.
        n: number of candidates.
        accuracy: on problems that had no part in the choice.
        gains: accuracy minus that of other ways of choosing, by their names, on the same problems. Among them are
            ``entropic_vote`` with the default eta, and two whose parameter is chosen on the other folds as well, where
            expected accuracy is highest, which is HedgeTune's criterion (Khalaf et al. 2025, arXiv 2506.19248):
            ``hedged_soft_best_of_n`` (eta) and ``hedged_best_of_n`` (a number of candidates up to n).
        others: accuracy of those.
    """

    vote: Vote
    chosen: list[Vote]
    n: int
    accuracy: Estimate
    gains: dict[str, Estimate]
    others: dict[str, Estimate]


def choose_vote(
    pool: Candidates,
    scores: Mapping[str, Tensor],
    n: int | None = None,
    etas: Sequence[float] | None = None,
    folds: int = 10,
    seed: int = 0,
) -> VoteChoice:
    """Chooses an aggregation and an eta by accuracy, and estimates by cross-validation what the choice is worth.

    Args:
        pool: graded candidates.
        scores: score of each candidate by each aggregation, shape [P, N]; ``-inf`` for one that has none.
        n: number of candidates to choose from; by default as many as every problem has.
        etas: to choose from; by default ``ETAS_IN_SPREADS`` over the spread of each aggregation's scores.
        folds: parts of the problems; each is judged by the vote that is best on the others.
        seed: of the parts.

    Returns:
        The choice. Of equally good votes, the first aggregation's with the lowest eta is taken.

    Raises:
        ValueError: if there are fewer problems than folds or fewer than two folds, n is not among 1 to the candidates
            that every problem has, or there are no etas.
    """
    problems, smallest = len(pool.correct_PN), int(pool.valid_PN.sum(1).min())
    n = smallest if n is None else n
    if not 1 <= n <= smallest:
        raise ValueError(
            f"n is {n}; it must be at least 1, and at most {smallest}, the candidates that every problem has"
        )
    if not 2 <= folds <= problems:
        raise ValueError(f"folds is {folds}; it must be at least 2, and at most {problems}, the number of problems")
    if etas is not None and not etas:
        raise ValueError("etas is empty; it must hold at least one number of at least 0")

    votes = [
        Vote(aggregation, eta)
        for aggregation, scores_PN in scores.items()
        for eta in (_scaled(scores_PN, pool.valid_PN) if etas is None else sorted(etas))
    ]
    values_VP = torch.stack([_values_at(pool, scores[vote.aggregation], n, vote.eta) for vote in votes])
    held_out_P, chosen = cross_validated(values_VP, folds, seed)
    best = votes[int(values_VP.mean(1).argmax())]

    others = {"majority": pool_values(pool)["majority"], **score_values(pool, scores[best.aggregation])}
    others_P = {name: values_PN[:, n - 1] for name, values_PN in others.items()}
    soft_VP = torch.stack([_soft_values_at(pool, scores[vote.aggregation], n, vote.eta) for vote in votes])
    best_of_VP = torch.cat(
        [best_of_n_curves(each, pool.correct_PN, pool.valid_PN)[:, :n].T for each in scores.values()]
    )
    others_P["hedged_soft_best_of_n"] = cross_validated(soft_VP, folds, seed)[0]
    others_P["hedged_best_of_n"] = cross_validated(best_of_VP, folds, seed)[0]
    return VoteChoice(
        best,
        [votes[place] for place in chosen],
        n,
        Estimate.of(held_out_P),
        {name: Estimate.of(held_out_P - values_P) for name, values_P in others_P.items()},
        {name: Estimate.of(values_P) for name, values_P in others_P.items()},
    )


def cross_validated(values_VP: Tensor, folds: int, seed: int = 0) -> tuple[Tensor, list[int]]:
    """Value of every problem by the choice that is best on the problems of the other folds.

    Args:
        values_VP: value of each problem by each choice, shape [V, P].
        folds: parts of the problems, of sizes that differ by at most one.
        seed: of the parts.

    Returns:
        The values, shape [P], and the place of the choice for each fold; the first of equally good ones.

    Example:
        The second choice is better on the first problem, the first on the other two: each is judged by what the
        others say, so a choice by chance gains nothing.

        >>> cross_validated(torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), folds=3)[0]
        tensor([0., 1., 1.])
    """
    problems = values_VP.shape[1]
    order_P = torch.randperm(problems, generator=torch.Generator().manual_seed(seed))
    ends = [problems * fold // folds for fold in range(folds + 1)]
    held_out_P, chosen = torch.empty_like(values_VP[0]), []
    for start, end in pairwise(ends):
        fold = order_P[start:end]
        others = torch.cat([order_P[:start], order_P[end:]])
        place = int(values_VP[:, others].mean(1).argmax())
        held_out_P[fold] = values_VP[place, fold]
        chosen.append(place)
    return held_out_P, chosen


def _scaled(scores_PN: Tensor, valid_PN: Tensor) -> list[float]:
    spread = score_spread(scores_PN, valid_PN)
    return [factor / spread for factor in ETAS_IN_SPREADS] if spread > 0.0 else [0.0]


def _values_at(pool: Candidates, scores_PN: Tensor, n: int, eta: float) -> Tensor:
    return entropic_vote_values(pool, scores_PN, eta, _n_draws(pool, n))[:, n - 1]


def _soft_values_at(pool: Candidates, scores_PN: Tensor, n: int, eta: float) -> Tensor:
    return soft_best_of_n_curves(scores_PN, pool.correct_PN, eta, pool.valid_PN, _n_draws(pool, n))[:, n - 1]


def _n_draws(pool: Candidates, n: int) -> int:
    # Of the whole pool there is one subset: one draw is exact.
    return 1 if n == pool.valid_PN.shape[1] else 100
