"""Writes the step scores of ``predict`` to a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import lightning as L
from torch import Tensor

from erprm.data.solutions import SolutionRow
from erprm.runs.atomic import json_line, refuse_input, whole_file
from erprm.runs.lock import sole_writer


class StepScoreWriter(L.Callback):
    """Writes each row of the solutions file with its ``step_scores`` to a JSONL file, in the order of the input.

    The file appears under its name only once it is complete.
    """

    def __init__(self, output: str) -> None:
        """Names the file.

        Args:
            output: JSONL file to write.
        """
        self.output = Path(output)
        self._files = ExitStack()
        self._file: BinaryIO | None = None

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts an empty file.

        Raises:
            ValueError: if there are several processes; each would write a part; or if the file is the one
                that is read.
            InUseError: if another command is writing the file.
        """
        if trainer.world_size > 1:
            raise ValueError(f"StepScoreWriter writes from one process; the trainer has {trainer.world_size}")
        if source := getattr(trainer.datamodule, "predict_solutions", None):  # type: ignore[attr-defined]
            refuse_input(self.output, [source])
        with ExitStack() as files:
            files.enter_context(sole_writer(self.output))
            self._file = files.enter_context(whole_file(self.output))
            self._files = files.pop_all()

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
        assert self._file is not None, "prediction has not begun"
        for entry, step_scores in zip(batch, outputs, strict=True):
            row = {**entry.row, "steps": list(entry.solution.steps), "step_scores": step_scores.tolist()}
            self._file.write(json_line(row))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the whole file its name."""
        self._files.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leaves no half-written file behind."""
        with suppress(type(exception)):  # which comes out of the block of the file, too
            self._files.__exit__(type(exception), exception, exception.__traceback__)
