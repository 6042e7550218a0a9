"""Writes the trained model as a Hugging Face folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import lightning as L
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy

from erprm.runs.lock import sole_writer


class ExportHF(L.Callback):
    """Calls the module's ``save_pretrained`` at the end of training.

    What is written are the weights as they are then. ``fast_dev_run`` writes nothing. Of several processes the first
    makes the call; under a strategy that shards the weights all make it, since no process has them whole: there the
    module has to gather them, and to write on the first process only, as :class:`erprm.models.ProcessRewardModel` does.
    """

    def __init__(self, output: str) -> None:
        """Names the folder.

        Args:
            output: folder to write; files of an earlier export in it are replaced.
        """
        self.output = Path(output)
        self._held = ExitStack()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Finds out before training whether writing will work, and makes the folder.

        Raises:
            TypeError: if the module has no ``save_pretrained``.
            InUseError: if another command is going to write it.
            OSError: if the folder cannot be made.
        """
        if stage != "fit":
            return
        if not callable(getattr(pl_module, "save_pretrained", None)):
            raise TypeError(
                f"ExportHF needs a module with save_pretrained(folder); {type(pl_module).__name__} has none"
            )
        if trainer.is_global_zero:
            self._held.enter_context(sole_writer(self.output))
        self.output.mkdir(parents=True, exist_ok=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the folder."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if trainer.is_global_zero or isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            pl_module.save_pretrained(self.output)  # type: ignore[operator]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lets others write the folder."""
        self._held.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Lets others write the folder."""
        self._held.close()
