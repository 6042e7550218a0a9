"""Every way of picking an answer from a pool of candidates, from one set of scores: curves over n with intervals.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from erprm.metrics.functional.best_of_n import best_of_n_curves, pass_at_n_curves
from erprm.metrics.functional.bootstrap import bootstrap_interval
from erprm.metrics.functional.majority_vote import majority_vote_curves
from erprm.metrics.functional.random_text import random_text_curves
from erprm.metrics.functional.weighted_vote import weighted_vote_curves


@dataclass(frozen=True)
class Curve:
    """Accuracy against n, as a mean over problems with a 95% bootstrap interval.

    Attributes:
        n: numbers of candidates.
        mean: accuracy at each n.
        low: lower end of the interval at each n.
        high: upper end.
    """

    n: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]

    def at(self, n: int) -> tuple[float, float, float]:
        """Mean, low and high at one n."""
        index = self.n.index(n)
        return self.mean[index], self.low[index], self.high[index]


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, ... up to ``largest``, which closes the list if it is none.

    >>> powers_of_two(6)
    [1, 2, 4, 6]
    """
    powers = [1]
    while powers[-1] * 2 <= largest:
        powers.append(powers[-1] * 2)
    return powers if powers[-1] == largest else [*powers, largest]


def accuracy_curve(values_PN: Tensor, ns: list[int]) -> Curve:
    """The mean over problems, with its interval, of per-problem values.

    Args:
        values_PN: value of each problem at n = 1 to N; shape [P, N].
        ns: which n to keep.
    """
    values_Pn = values_PN[:, torch.tensor(ns, device=values_PN.device) - 1]
    low_n, high_n = bootstrap_interval(values_Pn)
    return Curve(list(ns), values_Pn.mean(0).tolist(), low_n.tolist(), high_n.tolist())


def pool_curves(
    correct_PN: Tensor,
    answers_PN: Tensor,
    texts_PN: Tensor,
    valid_PN: Tensor,
    ns: list[int],
) -> dict[str, Curve]:
    """What the pool itself can reach, with no scores.

    Args:
        correct_PN: whether a candidate is right, shape [P, N].
        answers_PN: number of its final answer, -1 for none, shape [P, N].
        texts_PN: number of its text, shape [P, N].
        valid_PN: False for padding, shape [P, N].
        ns: numbers of candidates.

    Returns:
        ``majority`` (majority vote), ``pass`` (pass@n), ``random`` (a candidate at random, which is pass@1 at every n)
        and ``random_text`` (best-of-n of a scorer that gives each distinct text a random score).
    """
    pass_PN = pass_at_n_curves(correct_PN, valid_PN)
    return {
        "majority": accuracy_curve(majority_vote_curves(answers_PN, correct_PN, valid_PN), ns),
        "pass": accuracy_curve(pass_PN, ns),
        "random": accuracy_curve(pass_PN[:, :1].expand_as(pass_PN), ns),
        "random_text": accuracy_curve(random_text_curves(texts_PN, correct_PN, valid_PN), ns),
    }


def score_curves(
    scores_PN: Tensor,
    correct_PN: Tensor,
    answers_PN: Tensor,
    valid_PN: Tensor,
    ns: list[int],
) -> dict[str, Curve]:
    """What the scores make of the pool.

    Args:
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored.
        correct_PN: whether a candidate is right, shape [P, N].
        answers_PN: number of its final answer, -1 for none, shape [P, N].
        valid_PN: False for padding, shape [P, N].
        ns: numbers of candidates.

    Returns:
        ``bon`` (best-of-n) and, unless a score is negative, ``weighted_vote``; a candidate without a score casts no
        vote.
    """
    curves = {"bon": accuracy_curve(best_of_n_curves(scores_PN, correct_PN, valid_PN), ns)}
    scored_PN = valid_PN & scores_PN.isfinite()
    if not (scores_PN[scored_PN] < 0).any():
        weights_PN = scores_PN.masked_fill(~scored_PN, 0.0)
        votes_PN = weighted_vote_curves(weights_PN, answers_PN.masked_fill(~scored_PN, -1), correct_PN, valid_PN)
        curves["weighted_vote"] = accuracy_curve(votes_PN, ns)
    return curves
