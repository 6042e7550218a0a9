"""Calibration of step scores as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from erprm.report.figure import empty_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def calibration_figure(by_data: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Draws the mean label of steps against their mean score, and how many steps there are, bin by bin.

    Args:
        by_data: for each data set what :func:`erprm.report.step_results.step_results` says; of those whose scores are
            in [0, 1] a line is drawn.
        title: of the figure.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    figure = empty_figure(5.2, 6.0)
    curve, shares = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    curve.plot([0, 1], [0, 1], color="gray", linestyle="--", linewidth=1)
    for name, results in by_data.items():
        bins = results["calibration"]
        if bins is None:
            continue
        filled = [b for b, steps in enumerate(bins["steps"]) if steps]
        scores = [bins["mean_score"][b] for b in filled]
        label = f"{name} (error {results['calibration_error']:.3f})"
        curve.plot(scores, [bins["mean_label"][b] for b in filled], marker="o", markersize=4, label=label)
        steps = sum(bins["steps"])
        shares.plot(scores, [100 * bins["steps"][b] / steps for b in filled], marker="o", markersize=3)
    curve.set_ylabel("share of right steps")
    curve.set_title(title)
    curve.legend(fontsize=8, loc="upper left")
    shares.set_xlabel("mean score of a bin")
    shares.set_ylabel("steps, %")
    for axes in (curve, shares):
        axes.grid(alpha=0.25)
    return figure
