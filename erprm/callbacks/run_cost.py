"""Records the time and memory of a run and writes them to a file when it ends."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from erprm.data.process_memory import peak_memory
from erprm.runs.atomic import write_finite_json

__all__ = ["Cost", "RunCost"]


@dataclass(frozen=True)
class Cost:
    """Time and memory used on one process.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all threads of the process on CPUs; unlike ``seconds`` it says nothing of waiting for others.
        peak_bytes: the most memory the process has held since its start, libraries and all.
        cuda_peak_bytes: the most that tensors have held on its GPU; 0 without one.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    cuda_peak_bytes: int


class Stopwatch:
    """Measures from its making on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Cost:
        """Cost so far; waits for the GPU to finish."""
        cuda_peak_bytes = 0
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            cuda_peak_bytes = torch.cuda.max_memory_allocated()
        return Cost(time.perf_counter() - self._wall, time.process_time() - self._cpu, peak_memory(), cuda_peak_bytes)


class RunCost(L.Callback):
    """Writes what ``fit`` took, from the first batch to the end with all validations, as JSON; see :class:`Cost`.

    A training that was continued from a checkpoint counts with what it had taken until that. Of several processes the
    first writes what it took itself.
    """

    def __init__(self, output: str) -> None:
        """Names the file.

        Args:
            output: JSON file to write.
        """
        self.output = Path(output)
        self._stopwatch: Stopwatch | None = None
        self._before: Cost | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts to measure."""
        self._stopwatch = Stopwatch()

    def state_dict(self) -> dict[str, Any]:
        """Cost of the training so far."""
        return asdict(self._total()) if self._stopwatch is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what the training had taken."""
        self._before = Cost(**state_dict) if state_dict else None

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the file; a training that was resumed after its end has this, and no ``on_train_end``."""
        if trainer.is_global_zero:
            write_finite_json(asdict(self._total()), self.output)

    def _total(self) -> Cost:
        now, before = (self._stopwatch or Stopwatch()).read(), self._before
        if before is None:
            return now
        return Cost(
            before.seconds + now.seconds,
            before.cpu_seconds + now.cpu_seconds,
            max(before.peak_bytes, now.peak_bytes),
            max(before.cuda_peak_bytes, now.cuda_peak_bytes),
        )
