"""Stops a training whose loss or gradient is not finite, before the weights change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch import Tensor, nn

from erprm.errors import FailedRunError


class NonFiniteError(FailedRunError):
    """The loss or the gradient of an optimizer step is NaN or infinite; the message names its records."""


class NonFiniteLossError(NonFiniteError):
    """The loss is NaN or infinite."""


class NonFiniteGradientError(NonFiniteError):
    """The norm of the gradient is NaN or infinite, while the losses are finite."""


@dataclass
class TrainedBatch:
    """A batch whose gradient waits for the optimizer step.

    Attributes:
        index: number of the batch within its epoch.
        record_ids: names of its records.
        loss: its loss, once it is known.
    """

    index: int
    record_ids: Sequence[str]
    loss: Tensor | None = None


def check_finite(trainer: L.Trainer, batches: Sequence[TrainedBatch], parameters: Iterable[nn.Parameter]) -> None:
    """Checks the losses and the gradient of an optimizer step, at the cost of one norm and one look at the device.

    Every process has to call it, and every process raises. With a gradient scaler (``precision: 16-mixed``) the
    gradient is not checked: there an infinite one is usual, and the scaler leaves out the step.

    Args:
        trainer: of the training; its callbacks will save nothing more if this raises.
        batches: those whose gradients have been accumulated.
        parameters: those with the gradients.

    Raises:
        NonFiniteError: naming the records of the batches whose loss is not finite; if all are, of all batches.
    """
    losses = [batch.loss for batch in batches if batch.loss is not None]
    has_scaler = getattr(trainer.precision_plugin, "scaler", None) is not None
    norm = torch.zeros(()) if has_scaler else gradient_norm(parameters)
    is_finite = bool(torch.isfinite(norm)) and (not losses or bool(torch.isfinite(torch.stack(losses)).all()))
    if trainer.strategy.reduce_boolean_decision(is_finite, all=True):
        return
    _forgo_saving(trainer)
    on_cpu = [replace(batch, loss=None if batch.loss is None else batch.loss.cpu()) for batch in batches]
    every_batch = _of_all_processes(on_cpu)
    broken = [batch for batch in every_batch if batch.loss is not None and not torch.isfinite(batch.loss)]
    named = broken or every_batch
    where = (
        f"at optimizer step {trainer.global_step}, batch {', '.join(sorted({str(batch.index) for batch in named}))}, "
        f"with the records: {', '.join(name for batch in named for name in batch.record_ids)}"
    )
    if broken:
        raise NonFiniteLossError(f"loss is {broken[0].loss} {where}")
    raise NonFiniteGradientError(f"gradient norm is {norm.item()} {where}")


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm of the whole gradient, sharded gradients included."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def _of_all_processes(batches: list[TrainedBatch]) -> list[TrainedBatch]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    lists: list[list[TrainedBatch]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(lists, batches)
    return [batch for of_a_process in lists for batch in of_a_process]


def _forgo_saving(trainer: L.Trainer) -> None:
    """Ends the saving of checkpoints on exceptions: the last one from before is the good one."""
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, OnExceptionCheckpoint)]  # type: ignore[attr-defined]
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            callback.save_on_exception = False
