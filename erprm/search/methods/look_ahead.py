"""Look-ahead search: beam search in which a step is judged by what the policy makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erprm.search.methods.beam import BeamSearch
from erprm.search.protocol import Budget, Expand, PartialSolution, SearchSteps


@dataclass(frozen=True)
class LookAhead(BeamSearch):
    """Beam search in which each next step has the score of its greedy continuation (Snell et al. 2024).

    The continuation is only for the score: the search goes on from the step itself. But one that has reached the end is
    a candidate, too. Its tokens count as all others, so a round is made for fewer steps than that of a beam search, and
    there is no look-ahead where it would decide nothing, as all steps are kept.

    Attributes:
        width: beams that are kept.
        expansions: next steps that are sampled for each.
        depth: steps to look ahead; by default to the end of the solution.
    """

    depth: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth is {self.depth}; it must be at least 1, or null for the end of the solution")

    def _steps_to_judge(self, going_on: Sequence[PartialSolution], budget: Budget) -> int:
        rest = budget.max_tokens - min(len(partial.token_ids) for partial in going_on)
        to_the_end = -(-rest // budget.max_step_tokens)
        return to_the_end if self.depth is None else min(1 + self.depth, to_the_end)

    def _judged(self, proposed: list[PartialSolution]) -> SearchSteps:
        judged = list(proposed)
        for _ in range(self.depth or 1):
            going_on = [place for place, partial in enumerate(judged) if partial.end is None]
            if not going_on:
                break
            request = Expand([judged[place] for place in going_on], whole=self.depth is None, greedy=True)
            continued = yield request
            for place, [further] in zip(going_on, continued, strict=True):
                judged[place] = further
        return judged
