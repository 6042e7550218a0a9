"""Statistics of step-labelled data as tables for the terminal and as one figure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from erprm.data.statistics.summary import LABEL_BINS, DataStatistics, LabelHistogram, mean, quantile
from erprm.report.figure import empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shared = Sequence[tuple[DataStatistics, DataStatistics, int]]
# Bounds of the columns of the table of labels, between 0 and 1.
_QUARTERS = ("(0, ¼)", "[¼, ½)", "[½, ¾)", "[¾, 1)")
_LENGTH_UNITS = ("tokens", "words", "characters")


def statistics_tables(data: Sequence[DataStatistics], shared: Shared) -> list[Table]:
    """Tables of sizes, of labels, and of problems that are elsewhere, too."""
    tables = [_sizes(data), *map(_labels, data)]
    if shared:
        tables.append(_shared(shared))
    if data[0].benchmarks:
        tables.append(_benchmarks(data))
    return tables


def _sizes(data: Sequence[DataStatistics]) -> Table:
    table = Table(title="Sizes", caption="distributions: mean · median · 90% at most · maximum")
    table.add_column("")
    for statistics in data:
        table.add_column(statistics.name, justify="right", overflow="fold")
    table.add_row("solutions", *(f"{s.solutions:,}" for s in data))
    table.add_row("problems", *(f"{s.problems:,}" for s in data))
    table.add_row("right answers", *(_percent(s.correct, s.solutions) for s in data))
    table.add_row("duplicates", *(f"{s.duplicates:,} ({_percent(s.duplicates, s.solutions)})" for s in data))
    table.add_row("steps of a solution", *(_distribution(s.steps) for s in data))
    table.add_row("completions of a step", *(_distribution(s.completions) for s in data))
    for unit in data[0].lengths:
        table.add_row(f"{unit} of a solution", *(_distribution(s.lengths[unit]) for s in data))
    return table


def _labels(statistics: DataStatistics) -> Table:
    table = Table(title=f"Labels of the steps of {statistics.name}, %")
    for column in ("eta", "mean", "0", *_QUARTERS, "1"):
        table.add_column(column, justify="right", no_wrap=True)
    for eta, labels in statistics.labels.items():
        quarters = labels.between.reshape(len(_QUARTERS), -1).sum(axis=1)
        shares = [_percent(int(count), labels.count, "") for count in (labels.zeros, *quarters, labels.ones)]
        table.add_row(eta_name(eta), f"{labels.mean:.3f}", *shares)
    return table


def _shared(shared: Shared) -> Table:
    table = Table(title="Problems in both of two data sets")
    table.add_column("", overflow="fold")
    table.add_column("and", overflow="fold")
    for column in ("problems", "of the first", "of the second"):
        table.add_column(column, justify="right")
    for one, other, problems in shared:
        shares = (_percent(problems, one.problems), _percent(problems, other.problems))
        table.add_row(one.name, other.name, f"{problems:,}", *shares, style="bold red" if problems else None)
    return table


def _benchmarks(data: Sequence[DataStatistics]) -> Table:
    table = Table(title="Benchmark problems in the data", caption="by normalised text: problems · solutions to them")
    table.add_column("data", overflow="fold")
    for name, overlap in data[0].benchmarks.items():
        table.add_column(f"{name} ({overlap.of:,})", justify="right")
    for statistics in data:
        overlaps = statistics.benchmarks.values()
        cells = [f"{o.problems:,} · {o.solutions:,} ({_percent(o.solutions, statistics.solutions)})" for o in overlaps]
        table.add_row(statistics.name, *cells, style="bold red" if any(o.problems for o in overlaps) else None)
    return table


def eta_name(eta: float) -> str:
    """An eta for a reader, with the name that some values have.

    >>> eta_name(0.0), eta_name(2.5), eta_name(float("inf"))
    ('0 (soft)', '2.5', 'inf (hard)')
    """
    return f"{eta:g}" + {0.0: " (soft)", math.inf: " (hard)"}.get(eta, "")


def _percent(part: int, whole: int, unit: str = "%") -> str:
    return f"{100 * part / whole:.1f}{unit}" if whole else "-"


def _distribution(counts: Counter[int]) -> str:
    if not counts:
        return "-"
    return f"{mean(counts):.1f} · {quantile(counts, 0.5)} · {quantile(counts, 0.9)} · {max(counts)}"


# The figure -------------------------------------------------------------------------------------------------------


def draw_statistics(data: Sequence[DataStatistics], shared: Shared, path: str | Path) -> None:
    """Draws the steps and the length of a solution, what is there twice or elsewhere, and the labels of each data set.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
        ValueError: if the name of the file is that of no kind of figure.
    """
    columns = 2 if len(data) == 1 else 3
    rows = math.ceil((3 + len(data)) / columns)
    figure = empty_figure(5 * columns, 3.6 * rows)
    steps, lengths, repeats, *others = figure.subplots(rows, columns).flat
    _draw_steps(steps, data)
    _draw_lengths(lengths, data)
    _draw_repeats(repeats, data, shared)
    for axes, statistics in zip(others, data, strict=False):
        _draw_labels(axes, statistics)
    for axes in others[len(data) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=130)


def _draw_steps(axes: Axes, data: Sequence[DataStatistics]) -> None:
    # Beyond what 99 in 100 solutions have, a few would squeeze the rest.
    most = max(quantile(statistics.steps, 0.99) for statistics in data)
    numbers = np.arange(1, most + 1)
    for statistics in data:
        shares = [100 * statistics.steps[number] / statistics.solutions for number in numbers.tolist()]
        axes.plot(numbers, shares, marker="o", markersize=3, label=_shortened(statistics.name, 28))
    _dress(axes, "Steps of a solution", "steps", "solutions, %")
    axes.legend(fontsize=7)


def _draw_lengths(axes: Axes, data: Sequence[DataStatistics]) -> None:
    unit = next(unit for unit in _LENGTH_UNITS if unit in data[0].lengths)
    most = max(quantile(statistics.lengths[unit], 0.99) for statistics in data)
    edges = np.linspace(0, most, 41)
    for statistics in data:
        counts = statistics.lengths[unit]
        heights, _ = np.histogram(list(counts), bins=edges, weights=list(counts.values()))
        axes.stairs(
            100 * heights / statistics.solutions, edges, label=_shortened(statistics.name, 28), fill=True, alpha=0.35
        )
    _dress(axes, f"Length of a solution in {unit}", unit, "solutions, %")
    axes.legend(fontsize=7)


def _draw_repeats(axes: Axes, data: Sequence[DataStatistics], shared: Shared) -> None:
    """A group of bars for each place where something could be a second time, a bar for each data set."""
    height = 0.8 / len(data)
    groups = _repeats(data, shared)
    for position, parts in enumerate(groups.values()):
        for number, part in enumerate(parts):
            if part is not None:
                share = 100 * part[0] / part[1]
                bar = axes.barh(position + (number + 0.5) * height - 0.4, share, height, color=f"C{number}")
                axes.bar_label(bar, [f"{part[0]:,}"], padding=3, fontsize=7)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, 1.15 * axes.get_xlim()[1]))
    _dress(axes, "There twice, or elsewhere too", "solutions (in other data: problems), %", "")


def _repeats(data: Sequence[DataStatistics], shared: Shared) -> dict[str, list[tuple[int, int] | None]]:
    """Group -> for each data set how many of how many; None for a data set beside itself."""
    groups: dict[str, list[tuple[int, int] | None]] = {"duplicates": [(s.duplicates, s.solutions) for s in data]}
    for name in data[0].benchmarks:
        groups[f"in {name}"] = [(s.benchmarks[name].solutions, s.solutions) for s in data]
    if shared:
        counts = {frozenset((one.name, other.name)): count for one, other, count in shared}
        for other in data:
            groups[f"in {_shortened(other.name, 20)}"] = [
                None if s is other else (counts[frozenset((s.name, other.name))], s.problems) for s in data
            ]
    return groups


def _draw_labels(axes: Axes, statistics: DataStatistics) -> None:
    width = 0.8 / len(statistics.labels)
    positions = np.arange(LABEL_BINS + 2)
    for number, (eta, labels) in enumerate(statistics.labels.items()):
        shares = 100 * np.array(_bins(labels)) / max(labels.count, 1)
        axes.bar(positions + (number + 0.5) * width - 0.4, shares, width, label=f"eta {eta_name(eta)}")
    quarter = LABEL_BINS // 4
    ticks = [0, *(0.5 + quarter * number for number in range(1, 4)), LABEL_BINS + 1]
    axes.set_xticks(ticks, ["exactly 0", "¼", "½", "¾", "exactly 1"])
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    _dress(axes, f"Labels of {_shortened(statistics.name, 36)}", "label of a step", "steps, %")
    axes.legend(fontsize=8, loc="upper center")


def _bins(labels: LabelHistogram) -> list[Any]:
    return [labels.zeros, *labels.between, labels.ones]


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 8]}…{name[-7:]}"
