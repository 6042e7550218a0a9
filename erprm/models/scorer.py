"""What best-of-N asks of a model: a score for every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from erprm.steps import Solution


@runtime_checkable
class StepScorer(Protocol):
    """Anything that scores the steps of solutions: a LightningModule, a served model, a rule.

    A LightningModule may have an attribute ``ranks_may_differ``. True says that processes over which weights are
    sharded may call ``score_steps`` with different solutions, if they call it at the same time: it makes the same
    number of forwards on all. Best-of-N then shares its pool out among them; without it each scores the whole pool.
    """

    def score_steps(self, solutions: Sequence[Solution]) -> Sequence[Tensor]:
        """Scores every step of every solution.

        Args:
            solutions: questions with the steps of a solution, at least one step each.

        Returns:
            For each solution a tensor ``[steps]``; higher is better.
        """
        ...
