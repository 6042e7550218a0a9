"""Writes the trained model as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy


class ExportHF(L.Callback):
    """Calls the module's ``save_pretrained`` at the end of training, on the first process.

    What is written are the weights as they are then. ``fast_dev_run`` writes nothing.
    """

    def __init__(self, output: str) -> None:
        """Names the folder.

        Args:
            output: folder to write; files of an earlier export in it are replaced.
        """
        self.output = Path(output)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Finds out before training whether writing will work, and makes the folder.

        Raises:
            TypeError: if the module has no ``save_pretrained``.
            ValueError: if the strategy shards the weights, so that no process has them whole.
            OSError: if the folder cannot be made.
        """
        if stage != "fit":
            return
        if not callable(getattr(pl_module, "save_pretrained", None)):
            raise TypeError(
                f"ExportHF needs a module with save_pretrained(folder); {type(pl_module).__name__} has none"
            )
        if isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            raise ValueError(
                f"ExportHF writes from one process, but {type(trainer.strategy).__name__} shards the weights over all; "
                "use a strategy that keeps them whole, such as ddp, or leave ExportHF out"
            )
        self.output.mkdir(parents=True, exist_ok=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the folder."""
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            pl_module.save_pretrained(self.output)  # type: ignore[operator]
