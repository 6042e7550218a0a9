"""What best-of-N asks of a model: a score for every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from erprm.steps import Solution


@runtime_checkable
class StepScorer(Protocol):
    """Anything that scores the steps of solutions: a LightningModule, a served model, a rule."""

    def score_steps(self, solutions: Sequence[Solution]) -> Sequence[Tensor]:
        """Scores every step of every solution.

        Args:
            solutions: questions with the steps of a solution, at least one step each.

        Returns:
            For each solution a tensor ``[steps]``; higher is better.
        """
        ...
