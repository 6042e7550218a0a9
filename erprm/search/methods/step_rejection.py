"""Step-wise rejection: a step with a low score is sampled again."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.search.protocol import START, Budget, Expand, PartialSolution, SearchSteps


@dataclass(frozen=True)
class StepRejection:
    """Writes a solution step by step; a step below the threshold is sampled again, and the best of its tries is taken.

    With tokens left, another solution is written.

    Attributes:
        threshold: score from which a step is taken, in [0, 1].
        tries: the most samples of a step.
    """

    threshold: float = 0.5
    tries: int = 4

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}; it must be in [0, 1]")
        if self.tries < 1:
            raise ValueError(f"tries is {self.tries}; it must be at least 1")

    def search(self, budget: Budget) -> SearchSteps:
        """See :meth:`erprm.search.Search.search`."""
        solutions: list[PartialSolution] = []
        while budget.solutions:
            solutions += yield from self._one_solution(budget)
        return solutions

    def _one_solution(self, budget: Budget) -> SearchSteps:
        partial = START
        while partial.end is None:
            tried: list[PartialSolution] = []
            while not tried or (
                tried[-1].last_score < self.threshold and len(tried) < self.tries and budget.spare_steps([partial])
            ):
                [[step]] = yield Expand([partial])
                tried.append(step)
            partial = max(tried, key=lambda step: step.last_score)
        return [partial]
