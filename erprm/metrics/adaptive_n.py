"""Stopping rule for votes: sample no more once the leading answer is likely to stay in the lead.

Shape suffixes: P problems, N candidates a problem.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from erprm.lookup import did_you_mean
from erprm.metrics.choice import choose, vote_totals

if TYPE_CHECKING:
    from erprm.tensors import Numbers

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


def calibrate_adaptive_n(
    scores_PN: Numbers,
    answers_PN: Numbers,
    alpha: float,
    batch: int = 4,
    vote: CountingVote = "weighted_vote",
    valid_PN: Numbers | None = None,
) -> float:
    """The smallest ``confidence`` of :class:`erprm.search.AdaptiveN` that rarely changes an answer.

    On new problems like these, the expected share of answers that differ from the vote of all candidates is at most
    alpha; the expectation is over the problems of the pool, too. By conformal risk control (Angelopoulos et al. 2022,
    arXiv 2208.02814): of P problems, k may be lost such that ``P/(P + 1) * k/P + 1/(P + 1) <= alpha``.

    The risk must not rise with the confidence, so a problem counts as lost at a confidence if any that is at least as
    high stops at another answer than the last. This is at least as strict as the promise.

    The promise holds for searches with the same policy, scorer, ``batch`` and ``vote``, with ``n`` the N of the pool,
    and with a budget that allows so many.

    Args:
        scores_PN: score of each candidate, in the order sampled; for a weighted vote in [0, 1], or ``-inf`` for one
            without a score, which does not vote. Shape [P, N].
        answers_PN: integer id of each candidate's answer, -1 for none, and for a candidate that was cut off, which
            does not vote in a search either; shape [P, N].
        alpha: the share of answers that may differ, in (0, 1).
        batch: candidates before each look at the votes.
        vote: who votes how.
        valid_PN: boolean mask of the real candidates where rows are padded, shape [P, N].

    Returns:
        A confidence in [0.5, 1].

    Raises:
        ValueError: for mismatched shapes, an empty pool, a score that is NaN or no part of a vote, ids that are no
            integers or below -1, an unknown vote, batch < 1, or an alpha outside (0, 1) or below ``1/(P + 1)``, which
            takes more problems.

    Example:
        Nine problems on which all agree, and alpha = 0.1: any confidence will do.

        >>> calibrate_adaptive_n([[1.0] * 4] * 9, [[5] * 4] * 9, alpha=0.1, batch=2)
        0.5
    """
    # These load torch, which the settings of a search do without.
    from erprm.metrics.functional.pools import check_ids, check_pool, check_scores
    from erprm.tensors import as_tensor

    check_vote(vote)
    if batch < 1:
        raise ValueError(f"batch is {batch}; it must be at least 1")
    answers_PN = as_tensor(answers_PN, "answers_PN")
    if answers_PN.ndim != 2 or not answers_PN.numel():
        raise ValueError(f"answers_PN must have shape [problems, candidates], found {list(answers_PN.shape)}")
    _, valid_PN = check_pool(answers_PN >= 0, valid_PN)
    scores_PN = check_scores(scores_PN, valid_PN)
    answers_PN = check_ids("answers_PN", answers_PN, valid_PN, lowest=-1)
    problems = len(answers_PN)
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}; it must be above 0 and below 1")
    if alpha < 1 / (problems + 1):
        raise ValueError(
            f"alpha is {alpha}; {problems} problems allow no promise below 1/{problems + 1} = "
            f"{1 / (problems + 1):.4g}: give at least {math.ceil(1 / alpha - 1)} problems, or raise alpha"
        )
    lost_below_P = []
    for scores_N, answers_N, valid_N in zip(scores_PN, answers_PN, valid_PN, strict=True):
        answers = [None if answer == -1 else answer for answer in answers_N[valid_N].tolist()]
        lost_below_P.append(_lost_below(scores_N[valid_N].tolist(), answers, batch, vote))
    allowed = max(lost for lost in range(problems) if (lost + 1) / (problems + 1) <= alpha)
    first_kept = sorted(lost_below_P, reverse=True)[allowed]
    return max(0.5, math.nextafter(first_kept, 1.0))


def _lost_below(scores: Sequence[float], answers: Sequence[Hashable | None], batch: int, vote: CountingVote) -> float:
    """The largest confidence that stops at another answer than the last; 0 if none does."""
    last = answers[choose(scores, answers, vote)]
    highest = lost = 0.0
    for count in range(batch, len(scores), batch):
        confidence = confidence_in_leader(scores[:count], answers[:count], vote)
        if confidence > highest:  # Else every threshold that this passes has stopped the search before.
            highest = confidence
            if answers[choose(scores[:count], answers[:count], vote)] != last:
                lost = confidence
    return lost
