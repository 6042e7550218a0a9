"""Any step scorer as a LightningModule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch import Tensor, nn

from erprm.scoring import StepScorer
from erprm.steps import Solution


class ScorerModule(L.LightningModule):
    """Any :class:`StepScorer` in the place of a model, for ``test`` and ``validate`` with callbacks that score.

    A scorer that has ``close`` is closed at the end. One that is an ``nn.Module`` is moved to the trainer's device, and
    its weights are in the hash of the results.
    """

    def __init__(self, scorer: Any) -> None:
        """Takes the scorer.

        Args:
            scorer: anything with ``score_steps``; in a configuration file its ``class_path`` and ``init_args``.

        Raises:
            TypeError: if it has none.
        """
        super().__init__()
        if not isinstance(scorer, StepScorer):
            raise TypeError(f"model.scorer needs score_steps(solutions); {type(scorer).__name__} has none")
        self.scorer = scorer
        if isinstance(scorer, nn.Module):
            scorer.eval()

    def score_steps(self, solutions: Sequence[Solution]) -> Sequence[Tensor]:
        """Scores from the wrapped scorer."""
        return self.scorer.score_steps(solutions)

    def too_long(self, solutions: Sequence[Solution]) -> Mapping[int, int]:
        """Lengths of solutions that are too long for the wrapped scorer, if it reports any."""
        ask = getattr(self.scorer, "too_long", None)
        return ask(solutions) if callable(ask) else {}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: callbacks do the scoring."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: callbacks do the scoring."""

    def teardown(self, stage: str) -> None:
        """Ends what the scorer has started, such as vLLM's processes."""
        if callable(close := getattr(self.scorer, "close", None)):
            close()
