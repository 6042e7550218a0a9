"""Every way of picking an answer from a pool of candidates, from one set of scores: curves over n with intervals.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from erprm.metrics.functional.best_of_n import best_of_n_curves, pass_at_n_curves
from erprm.metrics.functional.bootstrap import bootstrap_interval
from erprm.metrics.functional.majority_vote import majority_vote_curves
from erprm.metrics.functional.permutation import paired_permutation_test, without_rounding
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
    """The curves of :func:`pool_values` at some n."""
    values = pool_values(correct_PN, answers_PN, texts_PN, valid_PN)
    return {method: accuracy_curve(values_PN, ns) for method, values_PN in values.items()}


def pool_values(correct_PN: Tensor, answers_PN: Tensor, texts_PN: Tensor, valid_PN: Tensor) -> dict[str, Tensor]:
    """What the pool itself can reach, with no scores, on every problem for every n.

    Args:
        correct_PN: whether a candidate is right, shape [P, N].
        answers_PN: number of its final answer, -1 for none, shape [P, N].
        texts_PN: number of its text, shape [P, N].
        valid_PN: False for padding, shape [P, N].

    Returns:
        ``majority`` (majority vote), ``pass`` (pass@n), ``random`` (a candidate at random, which is pass@1 at every n)
        and ``random_text`` (best-of-n of a scorer that gives each distinct text a random score), each [P, N].
    """
    pass_PN = pass_at_n_curves(correct_PN, valid_PN)
    return {
        "majority": majority_vote_curves(answers_PN, correct_PN, valid_PN),
        "pass": pass_PN,
        "random": pass_PN[:, :1].expand_as(pass_PN),
        "random_text": random_text_curves(texts_PN, correct_PN, valid_PN),
    }


def score_curves(
    scores_PN: Tensor,
    correct_PN: Tensor,
    answers_PN: Tensor,
    valid_PN: Tensor,
    ns: list[int],
) -> dict[str, Curve]:
    """The curves of :func:`score_values` at some n."""
    values = score_values(scores_PN, correct_PN, answers_PN, valid_PN)
    return {method: accuracy_curve(values_PN, ns) for method, values_PN in values.items()}


def score_values(scores_PN: Tensor, correct_PN: Tensor, answers_PN: Tensor, valid_PN: Tensor) -> dict[str, Tensor]:
    """What the scores make of the pool, on every problem for every n.

    Args:
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored.
        correct_PN: whether a candidate is right, shape [P, N].
        answers_PN: number of its final answer, -1 for none, shape [P, N].
        valid_PN: False for padding, shape [P, N].

    Returns:
        ``bon`` (best-of-n) and, unless a score is negative, ``weighted_vote``, each [P, N]; a candidate without a score
        casts no vote.
    """
    values = {"bon": best_of_n_curves(scores_PN, correct_PN, valid_PN)}
    scored_PN = valid_PN & scores_PN.isfinite()
    if not (scores_PN[scored_PN] < 0).any():
        weights_PN = scores_PN.masked_fill(~scored_PN, 0.0)
        votes_PN = answers_PN.masked_fill(~scored_PN, -1)
        values["weighted_vote"] = weighted_vote_curves(weights_PN, votes_PN, correct_PN, valid_PN)
    return values


@dataclass(frozen=True)
class Difference:
    """Accuracy of one method minus that of another on the same problems, with a 95% paired bootstrap interval.

    Attributes:
        method: name of the one.
        baseline: name of the other.
        n: numbers of candidates.
        mean: difference at each n.
        low: lower end of the interval at each n.
        high: upper end.
        p_value: of a two-sided paired permutation test at each n, not corrected for the number of comparisons.
    """

    method: str
    baseline: str
    n: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]
    p_value: list[float]


def differences(values: Mapping[str, Tensor], ns: list[int]) -> list[Difference]:
    """Compares every two methods.

    Args:
        values: value of each problem at n = 1 to N, of each method, shape [P, N].
        ns: which n to compare at.
    """
    return _compare([(one, values[one], other, values[other]) for one, other in combinations(values, 2)], ns)


def differences_to_baseline(
    values: Mapping[str, Tensor], baseline: Mapping[str, Tensor], ns: list[int]
) -> list[Difference]:
    """Compares each method with the method of the same name of another scorer on the same pool.

    Args:
        values: value of each problem at n = 1 to N, of each method, shape [P, N].
        baseline: those of the other scorer; methods that only one of them has are left out.
        ns: which n to compare at.
    """
    both = [method for method in values if method in baseline]
    return _compare([(method, values[method], f"baseline {method}", baseline[method]) for method in both], ns)


def _compare(pairs: list[tuple[str, Tensor, str, Tensor]], ns: list[int]) -> list[Difference]:
    places = torch.tensor(ns) - 1
    # All columns together: problems are drawn, and signs turned, once for all pairs.
    differences_P = torch.cat([one[:, places].double() - other[:, places].double() for _, one, _, other in pairs], 1)
    differences_P = without_rounding(differences_P)
    p_values = paired_permutation_test(differences_P, torch.zeros_like(differences_P))
    columns = torch.stack([differences_P.mean(0), *bootstrap_interval(differences_P), p_values])
    of_pairs = columns.unflatten(1, (len(pairs), len(ns))).unbind(1)
    return [
        Difference(method, baseline, list(ns), *numbers.tolist())
        for (method, _, baseline, _), numbers in zip(pairs, of_pairs, strict=True)
    ]
