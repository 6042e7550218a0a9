"""Base of the package's models: training that resumes exactly, and stops at a loss or gradient that is not a number."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from erprm.models.training.loop_progress import make_progress_exact
from erprm.models.training.nonfinite import TrainedBatch, check_finite
from erprm.models.training.randomness import seed_batch


class ResumableModule(L.LightningModule):
    """A LightningModule whose hooks make training exactly resumable (with a data module that is, too).

    A subclass that overrides one of these hooks calls ``super()`` in it.
    """

    _training_seed: int | None = None

    def on_train_start(self) -> None:
        """Takes a seed for the batches: that of the checkpoint, else the one in force now, the same on all ranks."""
        self._accumulated: list[TrainedBatch] = []
        if self._training_seed is None:
            self._training_seed = self.trainer.strategy.broadcast(torch.initial_seed())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds the random numbers of the batch, and notes its records."""
        assert self._training_seed is not None
        seed_batch(self._training_seed, self.global_rank, self.trainer.fit_loop.total_batch_idx)
        self._accumulated.append(TrainedBatch(batch_idx, getattr(batch, "record_ids", [])))

    def on_before_backward(self, loss: Tensor) -> None:
        """Notes the loss; it is looked at before the optimizer step."""
        self._accumulated[-1].loss = loss.detach()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Checks the losses and the gradient.

        Raises:
            NonFiniteError: if one is NaN or infinite; names the records. The weights are those before the step.
        """
        batches, self._accumulated = self._accumulated, []
        check_finite(self.trainer, batches, self.parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the seed, and makes the stored progress exact."""
        checkpoint["training_seed"] = self._training_seed
        if self.trainer.state.fn == TrainerFn.FITTING:
            make_progress_exact(self.trainer, checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the seed of the training to be continued."""
        self._training_seed = checkpoint.get("training_seed")
