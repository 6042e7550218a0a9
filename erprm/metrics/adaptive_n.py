"""Stopping rule for votes: sample no more once the leading answer is likely to stay in the lead."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal, TypeAlias, get_args

from erprm.lookup import did_you_mean
from erprm.metrics.choice import vote_totals

CountingVote: TypeAlias = Literal["majority", "weighted_vote"]
"""Votes in which every candidate has at most one vote."""


def check_vote(vote: str) -> None:
    """A ValueError unless ``vote`` is a :data:`CountingVote`."""
    if vote not in (known := get_args(CountingVote)):
        raise ValueError(f"vote is {vote!r}; it must be one of {', '.join(known)}{did_you_mean(vote, known)}")


def lead_probability(leading: float, second: float) -> float:
    """Posterior probability that the leading answer is the more frequent one of two.

    The leading answer's share of the votes of both has the posterior Beta(leading + 1, second + 1), after a uniform
    prior; the probability is its mass above one half (adaptive consistency, Aggarwal et al. 2023, arXiv 2305.11860).
    Votes may be fractions.

    Args:
        leading: votes for the leading answer.
        second: votes for the next answer, at least 0 and at most ``leading``.

    Returns:
        At least 0.5 and below 1, rounded to 12 digits: votes that are added up in another order give the same.

    Example:
        >>> lead_probability(3, 0)  # 1 - 0.5 ** 4
        0.9375
    """
    # The mass below one half is the incomplete beta function at 1/2, as the series 2F1(a + b, 1; a + 1; 1/2); its terms
    # are positive, and fall because a >= b >= 1.
    a, b = leading + 1.0, second + 1.0
    first = math.exp(math.lgamma(a + b) - math.lgamma(a + 1.0) - math.lgamma(b) - (a + b) * math.log(2.0))
    term = total = 1.0
    number = 0
    while term > 1e-17 * total:
        term *= (a + b + number) / (2.0 * (a + 1.0 + number))
        total += term
        number += 1
    return min(max(round(1.0 - first * total, 12), 0.5), 1.0 - 1e-12)


def confidence_in_leader(
    scores: Sequence[float], answers: Sequence[Hashable | None], vote: CountingVote = "weighted_vote"
) -> float:
    """Posterior probability that the answer with most votes stays ahead of the next one, however many may follow.

    Args:
        scores: of the candidates so far, in [0, 1]; ``-inf`` for one that could not be scored, which casts no vote.
        answers: equal for candidates that vote together; None for one without an answer, which casts no vote.
        vote: a candidate's vote counts one in a ``majority``, and its score in a ``weighted_vote``.

    Returns:
        See :func:`lead_probability`; 0 as long as there is no vote.

    Raises:
        ValueError: if a score of a weighted vote is outside [0, 1].
    """
    if vote == "weighted_vote" and max(scores, default=0.0) > 1.0:
        raise ValueError(
            f"a score is {max(scores)}; in a weighted vote that may stop early a score counts as a part of one vote, "
            "so it must be at most 1 (choose another aggregation, or vote 'majority')"
        )
    totals = sorted(vote_totals(scores, answers, vote).values(), reverse=True)
    return lead_probability(totals[0], totals[1] if len(totals) > 1 else 0.0) if totals else 0.0
