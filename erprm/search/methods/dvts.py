"""Diverse verifier tree search: several greedy searches that know nothing of each other."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.search.methods.beam import BeamSearch
from erprm.search.protocol import Budget, PartialSolution, SearchSteps


@dataclass(frozen=True)
class DVTS:
    """Independent subtrees, each a beam search of width 1 (Beeching et al. 2024, diverse verifier tree search).

    Beams of one search compete, so that all may come to descend from one step; subtrees do not. They are searched one
    after the other: a small budget gives few whole subtrees instead of many that cannot be ended. The candidates are
    all solutions that have ended in any of them. The published search advances its subtrees together, under no budget.

    Attributes:
        width: the most subtrees. ``BeamSearch(1, expansions)`` searches subtrees as long as tokens are left.
        expansions: next steps that are sampled for each step of a subtree; the best-scored is kept.
    """

    width: int = 4
    expansions: int = 4

    def __post_init__(self) -> None:
        BeamSearch(self.width, self.expansions)  # Refuses what is below 1.

    def search(self, budget: Budget) -> SearchSteps:
        """See :meth:`erprm.search.Search.search`."""
        subtree = BeamSearch(1, self.expansions)
        ended: list[PartialSolution] = []
        for _ in range(self.width):
            if budget.solutions:
                ended += yield from subtree.search_once(budget)
        return ended
