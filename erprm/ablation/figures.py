"""An ablation as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.ablation.results import Ablation
from erprm.metrics.estimate import Curve
from erprm.report.figures import curves_figure, dress, empty_figure
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
    dress(axes, f"{title} against eta, intervals over seeds and problems", "eta", "accuracy, %", title_size=10)
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
