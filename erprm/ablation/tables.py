"""An ablation as tables: for the terminal, and as a page in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from erprm.ablation.results import Ablation, CostRow
from erprm.metrics.estimate import Curve
from erprm.report.tables import Table, curves_table

_MIB = 2**20
_COLUMNS_OF_TERMINAL = 4
_DIFFERENCES = "points [95% interval]"


def ablation_tables(ablation: Ablation, costs: Sequence[CostRow]) -> list[Table]:
    """Best-of-n of each way of making labels, and what it took; with as many n as a terminal has room for."""
    ns = ablation.chosen[0].curve.n
    title = f"Best-of-n by {ablation.aggregation}, intervals over seeds and problems"
    few_ns = ns[:: -(len(ns) // -_COLUMNS_OF_TERMINAL)]
    return [curves_table(title, _all_curves(ablation), few_ns), _costs_table(costs)]


def ablation_markdown(ablation: Ablation, costs: Sequence[CostRow], introduction: str) -> str:
    """Accuracies, differences to the first way of making labels, doublings of n, and costs."""
    baseline = ablation.chosen[0].name
    to_baseline = {one: curve for (one, other), curve in ablation.differences.items() if other == baseline}
    tables = [curves_table(f"Accuracy of best-of-n by {ablation.aggregation}", _all_curves(ablation))]
    if to_baseline:
        tables.append(curves_table(f"Difference to {baseline}", to_baseline, corner=_DIFFERENCES))
    if ablation.doublings:
        title = "Accuracy at n minus accuracy at half of it"
        tables.append(curves_table(title, ablation.doublings, corner=_DIFFERENCES))
    sections = [f"\n## {table.title}\n\n{table.markdown()}" for table in (*tables, _costs_table(costs, "Costs"))]
    return "\n".join(["# Ablation over eta\n", introduction, *sections])


def _all_curves(ablation: Ablation) -> dict[str, Curve]:
    return {**{each.name: each.curve for each in ablation.chosen}, **ablation.pool}


def _costs_table(costs: Sequence[CostRow], title: str = "Costs, means over seeds") -> Table:
    header = ["labels", "stage", "seconds", "CPU seconds", "peak memory, MiB", "on the GPU, MiB"]
    rows = [
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
    return Table(title, header, rows, align="llrrrr")


def _mean(values: Sequence[float | None], unit: float = 1.0, digits: int = 2) -> str:
    measured = [value / unit for value in values if value is not None]
    return f"{fmean(measured):,.{digits}f}" if measured else "-"
