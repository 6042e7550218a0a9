"""An ablation as tables: for the terminal, and as a page in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.table import Table

from erprm.ablation.results import Ablation, CostRow
from erprm.metrics.evaluation import Curve
from erprm.report.best_of_n import best_of_n_markdown, best_of_n_table, interval_text

_MIB = 2**20
_COLUMNS_OF_TERMINAL = 4


def ablation_tables(ablation: Ablation, costs: Sequence[CostRow]) -> list[Table]:
    """Best-of-n of each way of making labels, and what it took."""
    curves = {**_model_curves(ablation), **ablation.pool}
    ns = ablation.chosen[0].curve.n
    title = f"Best-of-n by {ablation.aggregation}, intervals over seeds and problems"
    table = Table(title="Costs, means over seeds")
    header, rows = _cost_cells(costs)
    for number, column in enumerate(header):
        table.add_column(column, justify="right" if number > 1 else "left")
    for row in rows:
        table.add_row(*row)
    return [best_of_n_table(curves, title, ns[:: -(len(ns) // -_COLUMNS_OF_TERMINAL)]), table]


def ablation_markdown(ablation: Ablation, costs: Sequence[CostRow], introduction: str) -> str:
    """Accuracies, differences to the first way of making labels, doublings of n, and costs."""
    baseline = ablation.chosen[0].name
    to_baseline = {one: curve for (one, other), curve in ablation.differences.items() if other == baseline}
    parts = [
        "# Ablation over eta\n",
        introduction,
        f"\n## Accuracy of best-of-n by {ablation.aggregation}\n",
        best_of_n_markdown({**_model_curves(ablation), **ablation.pool}),
    ]
    if to_baseline:
        parts += [f"\n## Difference to {baseline}\n", _differences_markdown(to_baseline)]
    if ablation.doublings:
        parts += ["\n## Accuracy at n minus accuracy at half of it\n", _differences_markdown(ablation.doublings)]
    return "\n".join([*parts, "\n## Costs\n", _markdown(*_cost_cells(costs))])


def _model_curves(ablation: Ablation) -> dict[str, Curve]:
    return {each.name: each.curve for each in ablation.chosen}


def _differences_markdown(curves: dict[str, Curve]) -> str:
    ns = next(iter(curves.values())).n
    rows = [[name, *(interval_text(*curve.at(n)) for n in ns)] for name, curve in curves.items()]
    return _markdown(["points [95% interval]", *(f"n = {n}" for n in ns)], rows)


def _cost_cells(costs: Sequence[CostRow]) -> tuple[list[str], list[list[str]]]:
    header = ["labels", "stage", "seconds", "CPU seconds", "peak memory, MiB", "on the GPU, MiB"]
    return header, [
        [
            cost.name,
            cost.stage,
            _mean(cost.seconds),
            _mean(cost.cpu_seconds),
            _mean(cost.peak_bytes, _MIB, 0),
            _mean(cost.cuda_peak_bytes, _MIB, 0),
        ]
        for cost in costs
    ]


def _mean(values: Sequence[float | None], unit: float = 1.0, digits: int = 2) -> str:
    measured = [value / unit for value in values if value is not None]
    return f"{fmean(measured):,.{digits}f}" if measured else "-"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
