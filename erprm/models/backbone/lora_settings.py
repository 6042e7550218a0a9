"""The settings of low-rank adapters: here, where they load nothing, so that `--help` is fast."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoRA:
    """Settings of low-rank adapters (arXiv 2106.09685), W + (alpha / r) B A: their layers and size.

    Attributes:
        r: rank of the adapters.
        alpha: their weight is ``alpha / r``.
        dropout: on what goes into the adapters, in [0, 1).
        target_modules: names of the linear layers that get one, such as ``[q_proj, v_proj]``; by default all in the
            decoder layers.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"lora.r is {self.r}; it must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"lora.dropout is {self.dropout}; it must be in [0, 1)")
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("lora.target_modules is empty; name at least one layer, or leave it out for all")
