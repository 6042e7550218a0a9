"""Best-of-N: whole solutions, as many as the budget allows."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.search.protocol import START, Budget, Expand, PartialSolution, SearchSteps


@dataclass(frozen=True)
class BestOfNSearch:
    """Samples whole solutions side by side; those that end early leave tokens for more.

    Attributes:
        n: the most solutions of a problem; by default only the budget limits them.
    """

    n: int | None = None

    def __post_init__(self) -> None:
        if self.n is not None and self.n < 1:
            raise ValueError(f"n is {self.n}; it must be at least 1")

    def search(self, budget: Budget) -> SearchSteps:
        """See :meth:`erprm.search.Search.search`."""
        solutions: list[PartialSolution] = []
        while count := min(budget.solutions, budget.solutions if self.n is None else self.n - len(solutions)):
            [sampled] = yield Expand([START], count, whole=True)
            solutions += sampled
        return solutions
