"""Beam search over steps, guided by the scorer."""

from __future__ import annotations

from collections.abc import Sequence
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
        ended: dict[tuple[int, ...], PartialSolution] = {}
        beams, n = [START], self.width * self.expansions
        while going_on := [beam for beam in beams if beam.end is None]:
            spare = budget.spare_steps(going_on) // self._steps_to_judge(going_on, budget)
            if not spare and ended:
                break
            continued = yield Expand(going_on[: max(1, spare // n)], min(n, max(1, spare)))
            distinct = list({partial.token_ids: partial for partial in chain(*continued)}.values())
            kept = [beam for beam in beams if beam.end is not None]
            judged = distinct
            if len(kept) + len(distinct) > self.width:
                judged = yield from self._judged(distinct)
            ended.update({partial.token_ids: partial for partial in judged if partial.end is not None})
            scored = [*zip(kept, kept, strict=True), *zip(distinct, judged, strict=True)]
            scored.sort(key=lambda pair: -pair[1].score)
            beams, n = [beam for beam, _ in scored[: self.width]], self.expansions
        return list(ended.values())

    def _steps_to_judge(self, going_on: Sequence[PartialSolution], budget: Budget) -> int:
        """The most steps that are sampled for the sake of one next step, itself included."""
        return 1

    def _judged(self, proposed: list[PartialSolution]) -> SearchSteps:
        """For each proposed continuation the partial solution whose score is taken for its own."""
        yield from ()  # A search that looks ahead makes requests here.
        return proposed
