"""An ablation as tables, for the terminal and as a page in Markdown, and as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from erprm.ablation.results import Ablation, CostRow
from erprm.metrics.estimate import Curve
from erprm.report.figures import curves_figure, dress, empty_figure
from erprm.report.tables import Table, curves_table
from erprm.runs.atomic import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


ETA_FIGURE, BEST_OF_N_FIGURE, LABELS_FIGURE = "eta.png", "best_of_n.png", "labels.png"


def draw_ablation(ablation: Ablation, histograms: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Draws accuracy against eta, accuracy against n, and the labels at each eta.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    models = {each.name: each.curve for each in ablation.chosen}
    title = f"Best-of-n by {ablation.aggregation}"
    figures = {
        BEST_OF_N_FIGURE: curves_figure(models, ablation.pool, title),
        ETA_FIGURE: eta_figure(ablation, title),
    }
    if histograms:
        figures[LABELS_FIGURE] = labels_figure(histograms)
    for name, figure in figures.items():
        write_figure(figure, folder / name)


def eta_figure(ablation: Ablation, title: str) -> Figure:
    """Accuracy against eta. Etas stand in order but not to scale, since they may reach from 0 to inf."""
    of_eta = sorted((each for each in ablation.chosen if each.eta is not None), key=lambda each: each.eta or 0.0)
    others: dict[str, Curve] = {each.name: each.curve for each in ablation.chosen if each.eta is None}
    figure = empty_figure(7.5, 4.8)
    axes = figure.add_subplot()
    places = range(len(of_eta) + len(others))
    curves = [*(each.curve for each in of_eta), *others.values()]
    ns = curves[0].n[1:] or curves[0].n
    for number, n in enumerate(ns):
        points = [[100 * value for value in curve.at(n)] for curve in curves]
        mean, low, high = map(list, zip(*points, strict=True))
        shift = 0.3 * (number / max(1, len(ns) - 1) - 0.5)
        xs = [place + shift for place in places]
        errors = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
        bars = axes.errorbar(xs, mean, errors, fmt="o", markersize=3, elinewidth=0.8, label=f"n = {n}")
        # Joined along eta only: labels of outcomes are no point of that line.
        axes.plot(xs[: len(of_eta)], mean[: len(of_eta)], color=bars[0].get_color(), linewidth=1)
    axes.set_xticks(list(places), [*(f"{each.eta:g}" for each in of_eta), *others])
    dress(axes, f"{title} against eta, intervals over {ablation.intervals_over}", "eta", "accuracy, %", title_size=10)
    return figure


def labels_figure(histograms: Sequence[Mapping[str, Any]]) -> Figure:
    """Distribution of the labels for each way of making them."""
    columns = min(3, len(histograms))
    rows = -(len(histograms) // -columns)
    figure = empty_figure(3.2 * columns, 2.3 * rows)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes, histogram in zip(grid, histograms, strict=False):
        total = max(1, sum(histogram["counts"]))
        shares = [100 * count / total for count in histogram["counts"]]
        axes.stairs(shares, histogram["edges"], fill=True)
        axes.set_title(histogram["name"], fontsize=9)
        axes.grid(alpha=0.25)
    for axes in grid[len(histograms) :]:
        axes.set_axis_off()
    figure.supxlabel("label of a step", fontsize=9)
    figure.supylabel("steps, %", fontsize=9)
    return figure


_MIB = 2**20
_COLUMNS_OF_TERMINAL = 4
_DIFFERENCES = "points [95% interval]"


def ablation_tables(ablation: Ablation, costs: Sequence[CostRow]) -> list[Table]:
    """Best-of-n of each way of making labels, and what it took; with as many n as a terminal has room for."""
    ns = ablation.chosen[0].curve.n
    title = f"Best-of-n by {ablation.aggregation}, intervals over {ablation.intervals_over}"
    few_ns = ns[:: -(len(ns) // -_COLUMNS_OF_TERMINAL)]
    return [curves_table(title, _all_curves(ablation), few_ns), _costs_table(costs)]


def ablation_markdown(ablation: Ablation, costs: Sequence[CostRow], introduction: str) -> str:
    """Accuracies, differences to the first way of making labels, doublings of n, votes, and costs."""
    baseline = ablation.chosen[0].name
    to_baseline = {one: curve for (one, other), curve in ablation.differences.items() if other == baseline}
    tables = [curves_table(f"Accuracy of best-of-n by {ablation.aggregation}", _all_curves(ablation))]
    if to_baseline:
        tables.append(curves_table(f"Difference to {baseline}", to_baseline, corner=_DIFFERENCES))
    if ablation.doublings:
        title = "Accuracy at n minus accuracy at half of it"
        tables.append(curves_table(title, ablation.doublings, corner=_DIFFERENCES))
    for vote, curves in ablation.votes.items():
        title = f"Accuracy of the {vote.replace('_', ' ')} by {ablation.aggregation}"
        tables.append(curves_table(title, {each.name: each.curve for each in curves}))
    if ablation.vote_gains:
        tables.append(curves_table("Entropic vote minus best-of-n", ablation.vote_gains, corner=_DIFFERENCES))
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
