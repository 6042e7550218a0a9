"""Learning-rate schedule: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class CosineWithWarmup(LambdaLR):
    """Scales the learning rate up linearly over the warm-up, then down along half a cosine to ``floor``."""

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.03, floor: float = 0.0) -> None:
        """Sets the shape.

        Args:
            optimizer: its learning rates are the peak.
            total_steps: optimizer steps of the whole training.
            warmup: share of the steps to warm up over, in [0, 1).
            floor: share of the peak left at the end, in [0, 1].

        Raises:
            ValueError: if a setting is out of range.
        """
        if total_steps < 1:
            raise ValueError(f"total_steps is {total_steps}; it must be at least 1")
        if not 0.0 <= warmup < 1.0:
            raise ValueError(f"warmup is {warmup}; it must be in [0, 1)")
        if not 0.0 <= floor <= 1.0:
            raise ValueError(f"floor is {floor}; it must be in [0, 1]")
        warmup_steps = round(warmup * total_steps)

        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
            return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))

        super().__init__(optimizer, factor)
