"""``erprm demo``: the whole loop in the embedded world, ending in one table and one figure."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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


@dataclass
class DemoConfig:
    """Runs the whole loop in a small world of its own, on a CPU.

    Attributes:
        output_dir: folder of the run; a run that was interrupted continues where it stopped.
        quick: the same code on sizes too small to learn anything, to see that all of it works.
        seed: seed of everything.
    """

    output_dir: str = "demo"
    quick: bool = False
    seed: int = 0


def main(arguments: Sequence[str]) -> int:
    """Runs the demo and prints what came out."""
    config = parse_settings(DemoConfig, arguments)

    from rich.console import Console

    from erprm.demo.recipe import FULL, QUICK
    from erprm.demo.stages import Demo

    _quieten()
    console = Console()
    started = time.perf_counter()
    folder = Path(config.output_dir)
    results = Demo(folder, QUICK if config.quick else FULL, config.seed, console).run()
    _show(results, folder, console)
    console.print(f"done in {time.perf_counter() - started:.0f} s; everything is in {folder}")
    return 0


def _show(results: Results, folder: Path, console: Console) -> None:
    from erprm.report.figures import curves_figure
    from erprm.report.tables import curves_table
    from erprm.runs.atomic import write_figure, write_json, write_text

    models = {label: results[method]["bon"] for method, label in _LABELS.items()}
    pool = {label: results["pool"][name] for name, label in _POOL_LABELS.items()}
    curves: dict[str, Curve] = {**models, **pool}
    title = "Best-of-n on unseen problems"
    # The columns that a terminal has room for; the file has all.
    ns = next(iter(curves.values())).n[::2]
    console.print(curves_table(title, curves, ns).rich())
    write_text(curves_table(title, curves).markdown(), folder / "results.md")
    written = {name: {method: asdict(curve) for method, curve in of_name.items()} for name, of_name in results.items()}
    write_json(written, folder / "results.json")
    try:
        write_figure(curves_figure(models, pool, title), folder / "best_of_n.png")
    except ImportError as error:
        console.print(f"no figure: {error}")


def _quieten() -> None:
    """Leaves the demo's own lines readable: Lightning greets every Trainer, transformers every model."""
    from transformers.utils import logging as transformers_logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="lightning")
