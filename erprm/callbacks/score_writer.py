"""Writes the step scores of ``predict`` to a file."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from torch import Tensor

from erprm.data.files.json_rows import json_line
from erprm.data.solutions import SolutionRow


class StepScoreWriter(L.Callback):
    """Writes each row of the solutions file with its ``step_scores`` to a JSONL file, in the order of the input.

    The file appears under its name only once it is whole.
    """

    def __init__(self, output: str) -> None:
        """Names the file.

        Args:
            output: JSONL file to write.
        """
        self.output = Path(output)
        self._unfinished = self.output.with_name(f".{self.output.name}.{uuid.uuid4().hex}.tmp")

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts an empty file.

        Raises:
            ValueError: if there are several processes; each would write a part.
        """
        if trainer.world_size > 1:
            raise ValueError(f"StepScoreWriter writes from one process; the trainer has {trainer.world_size}")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished.write_text("", encoding="utf-8")

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Sequence[Tensor],
        batch: Sequence[SolutionRow],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Appends the rows of one batch."""
        with self._unfinished.open("ab") as file:
            for entry, step_scores in zip(batch, outputs, strict=True):
                row = {**entry.row, "steps": list(entry.solution.steps), "step_scores": step_scores.tolist()}
                file.write(json_line(row))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the whole file its name."""
        self._unfinished.replace(self.output)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leaves no half-written file behind."""
        self._unfinished.unlink(missing_ok=True)
