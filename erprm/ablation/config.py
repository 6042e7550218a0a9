"""The settings of an ablation over eta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from erprm.eta import read_etas
from erprm.metrics.functional.aggregation import Aggregation, aggregator
from erprm.rollout.pools import PoolSampling
from erprm.steps import check_step_style

if TYPE_CHECKING:
    from erprm.data.labels import LabelMethod

WORLD = "{world}"
"""Stands for the number of a world in texts of the settings."""


def in_world(value: Any, world: int) -> Any:
    """Settings with the number of a world for ``{world}`` in all their texts.

    >>> in_world({"rollouts": "worlds/{world}/rollouts", "seed": 3}, 1)
    {'rollouts': 'worlds/1/rollouts', 'seed': 3}
    """
    if isinstance(value, str):
        return value.replace(WORLD, str(world))
    if isinstance(value, Mapping):
        return {key: in_world(each, world) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: in_world(getattr(value, each.name), world) for each in fields(value)})
    return type(value)(in_world(each, world) for each in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Method:
    """Labels to train on.

    Attributes:
        eta: of the entropy-regularized labels; None for labels of outcomes only.
    """

    eta: float | None

    @property
    def labels(self) -> LabelMethod:
        """The label method of the data module."""
        return "outcome" if self.eta is None else "er"

    @property
    def name(self) -> str:
        """``eta 2`` or ``outcome``."""
        return "outcome" if self.eta is None else f"eta {self.eta:g}"


@dataclass
class AblateConfig:
    """Trains a reward model for each eta and each seed on the same data, evaluates all on one pool, and compares them.

    Attributes:
        fit: YAML file of ``erprm fit``. Its keys can be set on the command line after ``--fit.``, as in
            ``--fit.trainer.max_epochs 2``. ``data.labels``, ``data.eta`` and the seeds are set by the ablation.
        pool: pool file, or what to sample once (see :class:`erprm.rollout.pools.PoolSampling`).
        output_dir: folder of the ablation. An interrupted one continues where it stopped; more etas or seeds add to it.
        etas: etas of the labels, ``0,2,inf``, or a list; 0 is ``soft``, ``inf`` is ``hard``.
        seeds: how many models are trained at each eta, with the seeds 0, 1, ... for weights that are new, the order of
            the data, and its validation split.
        outcome: train models on labels of outcomes only, too.
        gold: as of ``BestOfN``.
        gold_source: as of ``BestOfN``.
        kind: as of ``BestOfN``.
        step_style: as of ``BestOfN``.
        aggregation: as of ``BestOfN``; the one that tables, figures and differences are for.
        limit: as of ``BestOfN``.
        worlds: repeat all of it in so many independent worlds and compare over these. In texts of the fit
            configuration, of ``pool`` and of ``gold``, ``{world}`` stands for 0, 1, ...; with one world, for 0. Each
            world's ablation is in a folder ``world-0``, ... of ``output_dir``; more worlds add to it.
    """

    fit: str
    pool: str | PoolSampling
    output_dir: str = "ablation"
    etas: str | Sequence[float | str] = field(
        default_factory=lambda: [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0, float("inf")]
    )
    seeds: int = 3
    outcome: bool = True
    gold: str | None = None
    gold_source: Literal["gsm8k", "math", "jsonl"] = "jsonl"
    kind: str | dict[str, Any] = "auto"
    step_style: str = "lines"
    aggregation: Aggregation = "min"
    limit: int | None = None
    worlds: int = 1

    def __post_init__(self) -> None:
        read_etas(self.etas)
        for key, value in {"seeds": self.seeds, "limit": self.limit, "worlds": self.worlds}.items():
            if value is not None and value < 1:
                raise ValueError(f"{key} is {value}; it must be at least 1")
        check_step_style(self.step_style, "step_style")
        aggregator(self.aggregation)

    @property
    def methods(self) -> list[Method]:
        """The ways of making labels that are compared."""
        return [Method(eta) for eta in read_etas(self.etas)] + ([Method(None)] if self.outcome else [])

    def of_world(self, world: int) -> AblateConfig:
        """The ablation of one world."""
        folder = Path(self.output_dir)
        return replace(
            self,
            pool=in_world(self.pool, world),
            gold=in_world(self.gold, world),
            output_dir=str(folder / f"world-{world}" if self.worlds > 1 else folder),
            worlds=1,
        )

    def best_of_n(self, pool_file: Path) -> dict[str, Any]:
        """Arguments of the ``BestOfN`` that evaluates each model."""
        names = ("gold", "gold_source", "kind", "step_style", "aggregation", "limit")
        return {"candidates": str(pool_file), **{name: getattr(self, name) for name in names}}
