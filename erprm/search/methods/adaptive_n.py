"""Adaptive N: whole solutions, until more of them would hardly change the vote."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.metrics.adaptive_n import CountingVote, check_vote, confidence_in_leader
from erprm.search.protocol import START, Budget, Expand, PartialSolution, SearchSteps


@dataclass(frozen=True)
class AdaptiveN:
    """Samples whole solutions in batches, and stops once the leading answer is likely to stay in the lead.

    See :func:`erprm.metrics.adaptive_n.confidence_in_leader`. Solutions that were cut off vote only if all were, as in
    the choice of the answer. The rule is about a vote, so let the run ``select`` its answer by the same one.

    Attributes:
        confidence: probability from which no more is sampled, in [0.5, 1]; at 1 the search never stops early.
            :func:`erprm.metrics.calibrate_adaptive_n` finds one that changes few answers.
        batch: solutions that are sampled side by side, before each look at the votes.
        n: the most solutions of a problem; by default only the budget limits them.
        vote: ``weighted_vote``, in which a score in [0, 1] counts as a part of a vote, or ``majority``.
    """

    confidence: float = 0.95
    batch: int = 4
    n: int | None = None
    vote: CountingVote = "weighted_vote"

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence <= 1.0:
            raise ValueError(f"confidence is {self.confidence}; it must be in [0.5, 1]")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; it must be at least 1")
        if self.n is not None and self.n < 1:
            raise ValueError(f"n is {self.n}; it must be at least 1")
        check_vote(self.vote)

    def search(self, budget: Budget) -> SearchSteps:
        """See :meth:`erprm.search.Search.search`."""
        solutions: list[PartialSolution] = []
        while count := min(self.batch, budget.solutions, self.batch if self.n is None else self.n - len(solutions)):
            [sampled] = yield Expand([START], count, whole=True)
            solutions += sampled
            voting = [solution for solution in solutions if solution.end == "stop"] or solutions
            scores, answers = [each.score for each in voting], [each.answer for each in voting]
            if confidence_in_leader(scores, answers, self.vote) >= self.confidence:
                break
        return solutions
