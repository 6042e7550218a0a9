"""Searches under budgets of tokens, as a table and as a figure."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from erprm.report.best_of_n import interval_text
from erprm.search.results import Estimate, SearchPoint, SearchResults

_HEADER = ("method", "budget", "tokens", "accuracy, %", "gain, %")
_DETAILS = ("any right, %", "candidates", "scored")


def search_table(results: SearchResults) -> Table:
    """A table for the terminal: a row for each method and budget."""
    table = Table(title=_title(results), caption="accuracy, and gain over the first method, with 95% intervals")
    for number, column in enumerate(_HEADER):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    previous = results.points[0].method
    for point in results.points:
        if point.method != previous:
            table.add_section()
            previous = point.method
        table.add_row(*_cells(point)[: len(_HEADER)])
    return table


def search_markdown(results: SearchResults) -> str:
    """The same table in Markdown, with more columns."""
    header = [*_HEADER, *_DETAILS]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *map(_cells, results.points)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _title(results: SearchResults) -> str:
    graded = "" if results.graded == results.problems else f" ({results.graded:,} with a gold answer)"
    seeds = f", mean over {len(results.seeds)} seeds" if len(results.seeds) > 1 else ""
    return f"Searches on {results.problems:,} problems{graded}{seeds}"


def _cells(point: SearchPoint) -> list[str]:
    return [
        point.method,
        f"{point.budget_tokens:,}",
        f"{point.tokens:,.0f}",
        _text(point.accuracy),
        _text(point.gain),
        "-" if point.any_correct is None else f"{100 * point.any_correct:.1f}",
        f"{point.candidates:.1f}",
        f"{point.scored:.1f}",
    ]


def _text(estimate: Estimate | None) -> str:
    return "-" if estimate is None else interval_text(estimate.mean, estimate.low, estimate.high)


def search_figure(results: SearchResults, path: str | Path) -> None:
    """Draws accuracy against generated tokens, a line with its intervals for each method; a PNG or SVG.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
        ValueError: if no problem was graded.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'erprm[report]'") from error
    if not results.graded:
        raise ValueError("there is nothing to draw: no problem has a gold answer")
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for method in dict.fromkeys(point.method for point in results.points):
        points = sorted((p for p in results.points if p.method == method), key=lambda point: point.tokens)
        estimates = [point.accuracy for point in points if point.accuracy is not None]
        tokens = [point.tokens for point in points]
        (line,) = axes.plot(tokens, [100 * e.mean for e in estimates], marker="o", markersize=3, label=method)
        axes.fill_between(
            tokens,
            [100 * e.low for e in estimates],
            [100 * e.high for e in estimates],
            color=line.get_color(),
            alpha=0.12,
            linewidth=0,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("tokens generated for a problem")
    axes.set_ylabel("accuracy, %")
    axes.set_title(_title(results))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
