"""Base of the package's models: training that resumes exactly, and stops at a loss or gradient that is not a number."""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from erprm.data.batching.resumption import unfinished_accumulation
from erprm.models.training.nonfinite import TrainedBatch, check_finite

_COUNTERS = ("ready", "started", "processed", "completed")


def make_progress_exact(trainer: L.Trainer, fit_loop_state: dict[str, Any]) -> None:
    """Rewrites the progress that Lightning stores in a checkpoint, where it has to be.

    Lightning 2.6 counts a batch as ready, started, processed and completed, and finds out from the differences where a
    checkpoint was saved. In some places what it makes of them is not where training stood:

    - between two optimizer steps (gradient accumulation): the gradients so far are lost, their batches counted as done;
    - within a batch (a checkpoint saved on an exception): the step that values are logged at moves on by one;
    - before or during a validation that is due: it is left out;
    - after the last batch of an epoch: the end of the epoch is left out, and the next resumption repeats the next
      epoch.

    Here the first two become "just after the last optimizer step", the third "at the beginning of the validation", the
    last "at the end of the epoch".

    Args:
        trainer: that is saving.
        fit_loop_state: ``checkpoint["loops"]["fit_loop"]``.
    """
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress
    state = fit_loop_state["epoch_loop.batch_progress"]
    unfinished = unfinished_accumulation(trainer)
    if unfinished or progress.current.processed < progress.current.ready:
        for counts in (state["total"], state["current"]):
            # As `ModelCheckpoint` leaves it when it saves after a batch: not yet completed.
            done = counts["processed"] - unfinished
            counts.update({**dict.fromkeys(_COUNTERS, done), "completed": done - 1})
        state["is_last_batch"] = False
        fit_loop_state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    elif _validation_is_due(trainer):
        _complete_batch(state)
        fit_loop_state["epoch_loop.val_loop.batch_progress"] = {
            # A started batch that is not processed: a validation that was interrupted.
            "total": {"ready": 1, "started": 1, "processed": 0, "completed": 0},
            "current": dict.fromkeys(_COUNTERS, 0),
            "is_last_batch": False,
        }
    elif _is_after_batch(progress) and progress.is_last_batch:
        _complete_batch(state)
        fit_loop_state["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def _complete_batch(state: dict[str, Any]) -> None:
    for counts in (state["total"], state["current"]):
        counts["completed"] = counts["processed"]


def _is_after_batch(progress: Any) -> bool:
    """True while the hooks after a batch run."""
    return bool(progress.current.completed < progress.current.processed)


def _validation_is_due(trainer: L.Trainer) -> bool:
    """True if a validation follows the batch just trained on, or is under way."""
    loop: Any = trainer.fit_loop.epoch_loop
    if trainer.validating:
        seen = loop.val_loop.batch_progress.current
        return bool(seen.completed < sum(loop.val_loop.max_batches))
    fetcher = trainer.fit_loop._data_fetcher
    return _is_after_batch(loop.batch_progress) and fetcher is not None and bool(loop._should_check_val_fx(fetcher))


def seed_batch(seed: int, rank: int, batch: int) -> None:
    """Seeds the generators of Python, NumPy and torch (all devices) for one batch.

    So whatever draws random numbers while a batch is trained on (dropout) draws the same after a resumption, and
    nothing needs to be gathered from the processes for a checkpoint.

    Args:
        seed: of the training.
        rank: number of the process.
        batch: number of the batch, counted over the whole training.
    """
    for_torch, for_numpy, for_python = np.random.SeedSequence([seed, rank, batch]).generate_state(3, np.uint64)
    torch.manual_seed(int(for_torch))
    np.random.seed(int(for_numpy) % 2**32)  # noqa: NPY002 (the generator that others draw from)
    random.seed(int(for_python))


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
