"""The settings of estimates."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.inherited_help import inherits_help
from erprm.rollout.config import RolloutConfig


@dataclass
class EstimateConfig:
    """Settings beyond the configuration of ``fit``; their keys start with ``estimate.``, and ``fit``'s are taken too.

    Attributes:
        solutions: solutions of the training data; by default ``data.rollouts`` is read.
        tokens_per_solution: tokens of one, with its share of the question; needed with ``solutions``.
        steps_per_solution: scored steps of one.
        processes: devices; by default those of ``trainer.devices`` and ``trainer.num_nodes``.
        peak_tflops: what a device can do, in 10^12 operations per second; without it no time is given.
        mfu: share of that which training reaches, in (0, 1].
    """

    solutions: int | None = None
    tokens_per_solution: int | None = None
    steps_per_solution: int = 8
    processes: int | None = None
    peak_tflops: float | None = None
    mfu: float = 0.4

    def __post_init__(self) -> None:
        for name in ("solutions", "tokens_per_solution", "steps_per_solution", "processes", "peak_tflops"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"estimate.{name} is {value}; it must be above 0")
        if not 0.0 < self.mfu <= 1.0:
            raise ValueError(f"estimate.mfu is {self.mfu}; it must be in (0, 1]")
        if self.solutions is not None and self.tokens_per_solution is None:
            raise ValueError("estimate.solutions is set, but estimate.tokens_per_solution is not; give both or neither")


@inherits_help
@dataclass
class RolloutEstimateConfig(RolloutConfig):
    """Estimates what a rollout run will make and cost, from some of its problems; also takes the keys of ``rollout``.

    Attributes:
        probe: problems to roll out, drawn at random from all of the run's; nothing is written into ``output_dir``.
        probe_seed: choice of these problems.
        tokens_per_second: tokens that one device of the run generates in a second; without it only this machine's hours
            are given.
        devices: devices of the run.
        price: price of an hour of one device, in any currency.
        json: file for all numbers, as JSON.
    """

    probe: int = 50
    probe_seed: int = 0
    tokens_per_second: float | None = None
    devices: int = 1
    price: float | None = None
    json: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("probe", 2), ("devices", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("tokens_per_second", "price"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; it must be above 0")
        if self.price is not None and self.tokens_per_second is None:
            raise ValueError(f"price is {self.price}, but tokens_per_second is not set; a cost needs both")
