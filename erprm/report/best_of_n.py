"""Best-of-n of several reward models on one pool, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from erprm.metrics.evaluation import Curve
from erprm.report.figure import empty_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# One row or line each: label -> curve.
Curves = Mapping[str, Curve]


def interval_text(mean: float, low: float, high: float) -> str:
    """A percentage with its interval.

    >>> interval_text(0.899, 0.862, 0.931)
    '89.9 [86.2, 93.1]'
    """
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def best_of_n_table(curves: Curves, title: str, ns: Sequence[int]) -> Table:
    """A table for the terminal: accuracy in percent with its 95% interval, a row a method and a column an n."""
    header, rows = _cells(curves, ns)
    table = Table(title=title)
    for number, column in enumerate(header):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def best_of_n_markdown(curves: Curves) -> str:
    """The same table in Markdown, with all n."""
    header, rows = _cells(curves, next(iter(curves.values())).n)
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cells(curves: Curves, ns: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    rows = [[label, *(interval_text(*curve.at(n)) for n in ns)] for label, curve in curves.items()]
    return ["accuracy, % [95% interval]", *(f"n = {n}" for n in ns)], rows


def best_of_n_figure(models: Curves, pool: Curves, title: str) -> Figure:
    """Draws accuracy against n, models as lines with their intervals, what needs no model as dashes.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    figure = empty_figure(7.5, 4.8)
    axes = figure.add_subplot()
    for label, curve in models.items():
        (line,) = axes.plot(curve.n, [100 * value for value in curve.mean], marker="o", markersize=3, label=label)
        axes.fill_between(
            curve.n,
            [100 * value for value in curve.low],
            [100 * value for value in curve.high],
            color=line.get_color(),
            alpha=0.12,
            linewidth=0,
        )
    for label, curve in pool.items():
        axes.plot(curve.n, [100 * value for value in curve.mean], linestyle="--", linewidth=1, label=label)
    ns = next(iter(models.values())).n
    axes.set_xscale("log", base=2)
    axes.set_xticks(ns, [str(n) for n in ns])
    axes.set_xlabel("candidates n")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return figure
