"""Beam search over steps, guided by the scorer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from erprm.search.protocol import START, Budget, Expand, PartialSolution, SearchSteps


@dataclass(frozen=True)
class BeamSearch:
    """Samples next steps of the beams and keeps the best-scored of what comes out, until the best have all ended.

    The first round samples ``width * expansions`` first steps (as Snell et al. 2024, arXiv 2408.03314). Of equal
    continuations one is kept. A solution that has ended keeps its place among the beams as long as its score does, and
    is a candidate whatever becomes of that. With tokens left, the search begins anew.

    A round that the budget does not allow is made for fewer beams; at last the best beam alone is written to the end.

    Attributes:
        width: beams that are kept.
        expansions: next steps that are sampled for each.
    """

    width: int = 4
    expansions: int = 4

    def __post_init__(self) -> None:
        for name in ("width", "expansions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def search(self, budget: Budget) -> SearchSteps:
        """See :meth:`erprm.search.Search.search`."""
        ended: list[PartialSolution] = []
        while budget.solutions:
            ended += yield from self.search_once(budget)
        return ended

    def search_once(self, budget: Budget) -> SearchSteps:
        """One search from the first step on, until the best beams have ended; returns all solutions that have."""
        ended: list[PartialSolution] = []
        beams, n = [START], self.width * self.expansions
        while going_on := [beam for beam in beams if beam.end is None]:
            spare = budget.spare_steps(going_on)
            if not spare and ended:
                break
            continued = yield Expand(going_on[: max(1, spare // n)], min(n, max(1, spare)))
            distinct = list({partial.token_ids: partial for partial in chain(*continued)}.values())
            ended += [partial for partial in distinct if partial.end is not None]
            kept = [beam for beam in beams if beam.end is not None]
            beams = sorted([*kept, *distinct], key=lambda partial: -partial.score)[: self.width]
            n = self.expansions
        return ended
