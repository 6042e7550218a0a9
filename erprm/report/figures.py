"""Figures of results, where matplotlib is installed; all in one style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from erprm.metrics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from erprm.metrics.estimate import Curve


def empty_figure(width: float, height: float) -> Figure:
    """A figure of that many inches, which no window and no global list knows of.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'erprm[report]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def draw_estimates(axes: Axes, xs: Sequence[float], estimates: Sequence[Estimate], label: str) -> None:
    """Draws shares in percent as a line, with their intervals as a band."""
    mean, low, high = ([100 * value for value in values] for values in zip(*estimates, strict=True))
    (line,) = axes.plot(xs, mean, marker="o", markersize=3, label=label)
    axes.fill_between(xs, low, high, color=line.get_color(), alpha=0.12, linewidth=0)


def dress(
    axes: Axes, title: str, x: str, y: str, *, title_size: int | str = "large", legend_size: int | None = 8
) -> None:
    """Names the axes, and adds a grid and, with a font size for it, a legend."""
    axes.set_title(title, fontsize=title_size)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    if legend_size is not None:
        axes.legend(fontsize=legend_size)


def curves_figure(models: Mapping[str, Curve], pool: Mapping[str, Curve], title: str) -> Figure:
    """Draws accuracy against n: models as lines with their intervals, what needs no model as dashes.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    figure = empty_figure(7.5, 4.8)
    axes = figure.add_subplot()
    for name, curve in models.items():
        draw_estimates(axes, curve.n, curve.estimates, name)
    for name, curve in pool.items():
        axes.plot(curve.n, [100 * value for value in curve.mean], linestyle="--", linewidth=1, label=name)
    ns = next(iter(models.values())).n
    axes.set_xscale("log", base=2)
    axes.set_xticks(ns, [str(n) for n in ns])
    dress(axes, title, "candidates n", "accuracy, %")
    return figure


def vote_figure(votes: Mapping[str, Any], title: str) -> Figure:
    """Draws accuracy of the entropic vote against eta, a line for each n, and over both as a heat map.

    Args:
        votes: ``entropic_vote`` of :func:`erprm.report.pool_results.pool_results`.
        title: of the figure.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    figure = empty_figure(11.0, 4.6)
    lines, heat = figure.subplots(1, 2)
    curves = votes["curves"]
    etas, ns = [curve["eta"] for curve in curves], curves[0]["n"]
    for place, n in enumerate(ns):
        of_n = [Estimate(curve["mean"][place], curve["low"][place], curve["high"][place]) for curve in curves]
        draw_estimates(lines, etas, of_n, f"n = {n}")
    # 0, a majority vote, has its place beside the logarithms.
    lines.set_xscale("symlog", linthresh=min(filter(None, etas), default=1.0))
    lines.axvline(votes["eta"], color="gray", linestyle="--", linewidth=1)
    dress(lines, title, "eta of the vote", "accuracy, %")
    shares = [[100 * curve["mean"][place] for curve in curves] for place in range(len(ns))]
    image = heat.imshow(shares, aspect="auto", origin="lower", cmap="viridis")
    heat.set_xticks(range(len(etas)), [f"{eta:.3g}" for eta in etas])
    heat.set_yticks(range(len(ns)), [str(n) for n in ns])
    dress(heat, "accuracy, %", "eta of the vote", "candidates n", legend_size=None)
    heat.grid(visible=False)
    figure.colorbar(image, ax=heat)
    return figure


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
    dress(curve, title, "", "share of right steps", legend_size=None)
    curve.legend(fontsize=8, loc="upper left")
    dress(shares, "", "mean score of a bin", "steps, %", legend_size=None)
    return figure
