"""Settings of all parts of the kit: the device, the sizes, and when to stop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from erprm.runs.identity import named_chunks, sha256_of

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Attributes:
        device: to be measured.
        folder: for models without weights and their tokenizer.
        shapes: names of the shapes for speed.
        widths: tokens of a row, for the kernels.
        devices: numbers of devices for sharding.
        solutions: solutions of an optimizer step.
        deadline: by the monotonic clock.
    """

    device: torch.device
    folder: Path
    shapes: tuple[str, ...]
    widths: tuple[int, ...]
    devices: tuple[int, ...]
    solutions: int
    deadline: float = field(default=float("inf"), compare=False)

    @classmethod
    def of(cls, device: str, folder: Path, **changes: Any) -> Settings:
        """Full sizes for a GPU, and for a CPU the smallest with which every part runs."""
        count = max(1, torch.cuda.device_count())
        full: dict[str, Any] = {
            "shapes": ("135M", "1B", "8B"),
            "widths": (512, 1024, 2048, 4096, 8192, 16384),
            "devices": (1, count) if count > 1 else (1,),
            "solutions": 64,
        }
        tiny: dict[str, Any] = {"shapes": ("tiny",), "widths": (512,), "devices": (1,), "solutions": 8}
        return cls(
            **{"device": torch.device(device), "folder": folder, **(tiny if device == "cpu" else full), **changes}
        )

    @property
    def is_full(self) -> bool:
        """True on a GPU."""
        return self.device.type == "cuda"

    @property
    def seconds_left(self) -> float:
        """Seconds until the time is up."""
        return self.deadline - time.monotonic()

    def described(self) -> dict[str, Any]:
        """What results depend on, the code among it."""
        files = sorted([*(ROOT / "erprm").rglob("*.py"), *(ROOT / "benchmarks" / "gpu").glob("*.py")])
        return {
            "code": sha256_of(named_chunks(files))[:12],
            "device": self.device.type,
            "shapes": list(self.shapes),
            "widths": list(self.widths),
            "devices": list(self.devices),
            "solutions": self.solutions,
        }
