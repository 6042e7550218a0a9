"""Writes the step scores of ``predict`` to a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from erprm.data.solutions import SolutionRow


class StepScoreWriter(BasePredictionWriter):
    """Writes each row of the solutions file with its ``step_scores`` to a JSONL file, in the order of the input.

    The file appears under its name only once it is whole.
    """

    def __init__(self, output: str) -> None:
        """Names the file.

        Args:
            output: JSONL file to write.
        """
        super().__init__(write_interval="batch_and_epoch")
        self.output = Path(output)
        self._temporary = self.output.with_name(f".{self.output.name}.{os.getpid()}.tmp")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts an empty file.

        Raises:
            ValueError: if there are several processes; each would write a part.
        """
        if trainer.world_size > 1:
            raise ValueError(f"StepScoreWriter writes from one process; the trainer has {trainer.world_size}")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.write_text("", encoding="utf-8")

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Sequence[SolutionRow],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Appends the rows of one batch."""
        scores: Sequence[Tensor] = prediction
        with self._temporary.open("a", encoding="utf-8") as file:
            for entry, step_scores in zip(batch, scores, strict=True):
                row = {**entry.row, "steps": list(entry.solution.steps), "step_scores": step_scores.tolist()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def write_on_epoch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Gives the whole file its name."""
        self._temporary.replace(self.output)
