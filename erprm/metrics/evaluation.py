"""Every way of picking an answer from a pool of candidates, from one set of scores: curves over n with intervals.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from erprm.metrics.estimate import Curve
from erprm.metrics.functional.best_of_n import best_of_n_curves, pass_at_n_curves
from erprm.metrics.functional.entropic_vote import default_eta, entropic_vote_curves
from erprm.metrics.functional.majority_vote import majority_vote_curves
from erprm.metrics.functional.random_text import random_text_curves
from erprm.metrics.functional.resampling import bootstrap_interval, paired_permutation_test, without_rounding
from erprm.metrics.functional.weighted_vote import weighted_vote_curves


@dataclass(frozen=True)
class Candidates:
    """Graded candidates as tensors over P problems and N candidates; a problem with fewer candidates is padded.

    Attributes:
        correct_PN: whether a candidate's final answer is right.
        answers_PN: number of the final answer among those of its problem; -1 where none was found. Right candidates
            share one number, and so do wrong ones whose answers are the same number or are spelt alike.
        texts_PN: number of the text among the distinct texts of its problem.
        valid_PN: False where a problem has no such candidate.
    """

    correct_PN: Tensor
    answers_PN: Tensor
    texts_PN: Tensor
    valid_PN: Tensor


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


# The methods of selection: a new one is an entry here. ------------------------------------------------------------


def _random(pool: Candidates) -> Tensor:
    """Accuracy of a candidate at random, which is pass@1 at every n."""
    return pass_at_n_curves(pool.correct_PN, pool.valid_PN)[:, :1].expand(pool.correct_PN.shape)


def _weighted_vote(pool: Candidates, scores_PN: Tensor, eta: float) -> Tensor | None:
    """Accuracy of the answer whose candidates' scores sum highest; a candidate without a score casts no vote."""
    scores_PN, votes_PN = _ballots(pool, scores_PN)
    if (scores_PN < 0).any():
        return None
    return weighted_vote_curves(scores_PN, votes_PN, pool.correct_PN, pool.valid_PN)


def entropic_vote_values(pool: Candidates, scores_PN: Tensor, eta: float, n_draws: int = 100) -> Tensor:
    """Accuracy of the optimal policy's favourite answer, of every problem for every n.

    Args:
        pool: the candidates.
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored, and casts no vote.
        eta: at least 0.
        n_draws: number of random orders.
    """
    scores_PN, votes_PN = _ballots(pool, scores_PN)
    return entropic_vote_curves(scores_PN, votes_PN, pool.correct_PN, eta, pool.valid_PN, n_draws)


def _ballots(pool: Candidates, scores_PN: Tensor) -> tuple[Tensor, Tensor]:
    """Scores, and answers with none for candidates that have no score."""
    unscored_PN = ~(pool.valid_PN & scores_PN.isfinite())
    return scores_PN.masked_fill(unscored_PN, 0.0), pool.answers_PN.masked_fill(unscored_PN, -1)


POOL_METHODS: dict[str, Callable[[Candidates], Tensor]] = {
    "majority": lambda pool: majority_vote_curves(pool.answers_PN, pool.correct_PN, pool.valid_PN),
    "pass": lambda pool: pass_at_n_curves(pool.correct_PN, pool.valid_PN),
    "random": _random,
    "random_text": lambda pool: random_text_curves(pool.texts_PN, pool.correct_PN, pool.valid_PN),
}
"""Methods that need no scores: value of each problem for every n, [P, N]. ``random_text`` is best-of-n of a scorer that
gives each distinct text a random score."""

SCORE_METHODS: dict[str, Callable[[Candidates, Tensor, float], Tensor | None]] = {
    "bon": lambda pool, scores_PN, eta: best_of_n_curves(scores_PN, pool.correct_PN, pool.valid_PN),
    "weighted_vote": _weighted_vote,
    "entropic_vote": entropic_vote_values,
}
"""Methods that use scores, and eta if they have one, with values likewise; None where scores do not allow one (a
weighted vote of negatives)."""


def pool_values(pool: Candidates) -> dict[str, Tensor]:
    """Values of the pool itself, with no scores, on every problem for every n, by each of ``POOL_METHODS``."""
    return {method: values_of(pool) for method, values_of in POOL_METHODS.items()}


def score_values(pool: Candidates, scores_PN: Tensor, eta: float | None = None) -> dict[str, Tensor]:
    """Values of the pool with the scores, on every problem for every n, by each of ``SCORE_METHODS`` that they allow.

    Args:
        pool: the candidates.
        scores_PN: score of each candidate, shape [P, N]; ``-inf`` for one that could not be scored.
        eta: of the entropic vote, at least 0; by default :func:`default_eta`.
    """
    eta = default_eta(scores_PN, pool.valid_PN) if eta is None else eta
    values = {method: values_of(pool, scores_PN, eta) for method, values_of in SCORE_METHODS.items()}
    return {method: values_PN for method, values_PN in values.items() if values_PN is not None}


def pool_curves(pool: Candidates, ns: list[int]) -> dict[str, Curve]:
    """The curves of :func:`pool_values` at some n."""
    return {method: accuracy_curve(values_PN, ns) for method, values_PN in pool_values(pool).items()}


def score_curves(pool: Candidates, scores_PN: Tensor, ns: list[int], eta: float | None = None) -> dict[str, Curve]:
    """The curves of :func:`score_values` at some n."""
    values = score_values(pool, scores_PN, eta)
    return {method: accuracy_curve(values_PN, ns) for method, values_PN in values.items()}


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
