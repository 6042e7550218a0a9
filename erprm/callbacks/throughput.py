"""Training speed: tokens, solutions and optimizer steps per second, and the share of the device's peak used."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.throughput import get_available_flops
from torch import Tensor
from transformers import PreTrainedModel

from erprm.data.packing import PackedRows
from erprm.estimate.flops import TokenFlops, rows_cost, token_flops


@dataclass
class _Window:
    """Work done since the last logging.

    Attributes:
        since: when it began, or went on after a pause.
        cost: sums of :func:`erprm.estimate.flops.rows_cost`, on the device of the batches; None before the first.
    """

    since: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    cost: Tensor | None = None
    solutions: int = 0
    optimizer_steps: int = 0

    def pause(self) -> None:
        self.seconds += time.perf_counter() - self.since

    def resume(self) -> None:
        self.since = time.perf_counter()


class Throughput(L.Callback):
    """Logs the speed of training, at an interval of optimizer steps, as the mean over these.

    - ``throughput/tokens_per_s`` and ``throughput/solutions_per_s``, over all processes. A token that several solutions
      share is computed once and counted once; padding is not counted;
    - ``throughput/steps_per_s``: optimizer steps;
    - ``throughput/tflops_per_s``, of one device: the arithmetic that the model needs (see :mod:`erprm.estimate.flops`).
      What is computed twice under gradient checkpointing, or for nothing under a mask, is not counted;
    - ``throughput/mfu``: that over the device's peak, where Lightning knows it (CUDA devices).

    Validation is left out, and with it what other callbacks do then, such as ``BestOfN``. So is a run's first optimizer
    step, in which memory is allocated and kernels are compiled. The module is one of this package, or any that has a
    ``backbone`` of transformers and batches of :class:`erprm.data.packing.PackedRows`; of others, steps are logged.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        """Sets how often.

        Args:
            every_n_steps: optimizer steps between logs.

        Raises:
            ValueError: if that is below 1.
        """
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps
        self._window: _Window | None = None
        self._cost: TokenFlops | None = None
        self._peak_flops: int | None = None
        self._step_before = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Finds out what a token costs and what the device could do."""
        backbone = getattr(pl_module, "backbone", None)
        self._cost = token_flops(backbone) if isinstance(backbone, PreTrainedModel) else None
        self._peak_flops = get_available_flops(trainer.strategy.root_device, _computed_in(str(trainer.precision)))
        self._window, self._step_before = None, trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch; logs if it is time."""
        ended_step, self._step_before = trainer.global_step > self._step_before, trainer.global_step
        if self._window is None:
            if ended_step:
                self._window = _Window()
            return
        window = self._window
        window.optimizer_steps += ended_step
        if isinstance(batch, PackedRows):
            cost = rows_cost(batch)
            window.cost = cost if window.cost is None else window.cost + cost
            window.solutions += len(getattr(batch, "record_ids", ()))
        if ended_step and window.optimizer_steps >= self.every_n_steps:
            self._log(trainer, pl_module, window)
            self._window = _Window()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops the clock."""
        if self._window is not None:
            _wait_for(trainer.strategy.root_device)
            self._window.pause()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock again."""
        if self._window is not None:
            self._window.resume()

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule, window: _Window) -> None:
        _wait_for(trainer.strategy.root_device)
        window.pause()
        sums, means = {}, {"steps_per_s": window.optimizer_steps / window.seconds}
        if window.cost is not None:
            tokens, pairs = window.cost.tolist()
            sums = {"tokens_per_s": tokens / window.seconds, "solutions_per_s": window.solutions / window.seconds}
            if self._cost is not None:
                flops_per_s = self._cost.total(tokens, pairs) / window.seconds
                means["tflops_per_s"] = flops_per_s / 1e12
                if self._peak_flops:
                    means["mfu"] = flops_per_s / self._peak_flops
        for values, reduce_fx in ((sums, "sum"), (means, "mean")):
            for name, value in values.items():
                pl_module.log(f"throughput/{name}", value, sync_dist=True, reduce_fx=reduce_fx, batch_size=1)


def _computed_in(precision: str) -> torch.dtype:
    """The type in which a precision of Lightning's multiplies matrices."""
    if "bf16" in precision:
        return torch.bfloat16
    return torch.float16 if "16" in precision else torch.float32


def _wait_for(device: torch.device) -> None:
    """Kernels of a GPU run on after their launch."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
