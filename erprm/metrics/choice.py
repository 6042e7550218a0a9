"""Choice of one among scored candidates: the best-scored, or the best-scored of those with the answer of a vote."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal, get_args

from erprm.eta import Eta, read_eta
from erprm.lookup import did_you_mean

SPREADS = 3.0
"""The default eta of an entropic vote, times the standard deviation of the scores within a problem."""

Select = Literal["best", "majority", "weighted_vote", "entropic_vote"]


def check_select(select: str, eta: Eta | None) -> None:
    """Refuses what :func:`choose` would refuse of its settings, for the keys ``select`` and ``vote_eta``.

    Raises:
        ValueError: for an unknown ``select``, or an ``eta`` that is negative or no eta; or one that nothing reads.
    """
    if select not in get_args(Select):
        known = ", ".join(get_args(Select))
        raise ValueError(f"select is {select!r}; it must be one of {known}{did_you_mean(select, get_args(Select))}")
    if eta is not None and not read_eta(eta, "vote_eta") >= 0.0:
        raise ValueError(f"vote_eta is {eta}; it must be at least 0 (0 is majority vote, inf is best-of-n)")
    if eta is not None and select != "entropic_vote":
        raise ValueError(f"vote_eta is {eta}, which select={select!r} does not read; it is for select='entropic_vote'")


def choose(
    scores: Sequence[float], answers: Sequence[Hashable | None], select: Select = "best", eta: Eta | None = None
) -> int:
    """The place of the candidate to give as the answer; the first of equally good ones.

    Args:
        scores: of the candidates; ``-inf`` for one that could not be scored, which casts no vote.
        answers: equal for candidates that vote together; None for one without an answer, which casts no vote.
        select: ``best``, or who votes how: ``majority`` counts, ``weighted_vote`` adds scores up, ``entropic_vote``
            adds up ``exp(eta * score)``. Of answers with equal totals the one with the best-scored candidate wins. If
            no candidate votes, the best-scored is taken.
        eta: of the entropic vote, at least 0; by default 3 over the standard deviation of the scores.

    Raises:
        ValueError: if there is no candidate, eta is negative or NaN, or a score is negative in a weighted vote.

    Example:
        >>> choose([0.9, 0.5, 0.5], ["7", "8", "8"], "entropic_vote", eta=1)  # 2 exp(0.5) > exp(0.9)
        1
        >>> choose([0.9, 0.5, 0.5], ["7", "8", "8"], "entropic_vote", eta=2)
        0
    """
    if not scores:
        raise ValueError("there is no candidate to choose from")
    totals = {} if select == "best" else vote_totals(scores, answers, select, eta)
    if not totals:
        return max(range(len(scores)), key=lambda place: scores[place])
    # A total is known to a few last digits only: candidates may come in any order.
    largest = max(totals.values()) * (1 - 1e-12)
    winning = [place for place, answer in enumerate(answers) if totals.get(answer, -math.inf) >= largest]
    return max(winning, key=lambda place: scores[place])


def vote_totals(
    scores: Sequence[float], answers: Sequence[Hashable | None], select: Select, eta: Eta | None = None
) -> dict[Hashable, float]:
    """The votes for each answer, added up; empty if no candidate votes.

    Arguments and errors are those of :func:`choose`, but for ``best``, in which nobody votes.
    """
    voting = [
        (score, answer)
        for score, answer in zip(scores, answers, strict=True)
        if answer is not None and score > -math.inf
    ]
    totals: dict[Hashable, float] = {}
    if voting:
        weights = _weights([score for score, _ in voting], select, eta)
        for (_, answer), weight in zip(voting, weights, strict=True):
            totals[answer] = totals.get(answer, 0.0) + weight
    return totals


def _weights(scores: Sequence[float], select: Select, eta: Eta | None) -> list[float]:
    if select == "majority":
        return [1.0] * len(scores)
    if select == "weighted_vote":
        if min(scores) < 0.0:
            raise ValueError(f"a score is {min(scores)}; in a weighted vote scores must be at least 0")
        return list(scores)
    if eta is None:
        mean = sum(scores) / len(scores)
        spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
        eta = SPREADS / spread if spread > 0.0 else 0.0
    eta, largest = read_eta(eta), max(scores)
    if eta < 0.0:
        raise ValueError(f"eta is {eta}; a vote needs one of at least 0 (0 is majority vote, inf is best-of-n)")
    # At infinity 0 * inf would be NaN.
    return [math.exp(eta * (score - largest)) if score < largest else 1.0 for score in scores]
