"""Tables of results: one value, drawn for the terminal by rich and for files as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.table

    from erprm.metrics.estimate import Curve, Estimate


@dataclass(frozen=True)
class Table:
    """Rows of text under a header.

    Attributes:
        title: what the rows are about.
        header: names of the columns; empty for rows that each hold a name and a value.
        rows: the cells.
        align: ``l`` or ``r`` for each column; by default the first is left and the others, numbers, are right.
        footnote: what a reader must know to read the cells.
        whole_numbers: keep each right-aligned cell on one line where the terminal is narrow.
        sections: draw a line where the first cell changes.
        warnings: places of the rows that a reader must not miss.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str = ""
    footnote: str = ""
    whole_numbers: bool = False
    sections: bool = False
    warnings: Collection[int] = ()

    @property
    def _align(self) -> str:
        return self.align or ("l" + "r" * (len(self.header) - 1) if self.header else "ll")

    def rich(self) -> rich.table.Table:
        """The table for a terminal."""
        from rich.markup import escape
        from rich.table import Table as RichTable

        table = RichTable(title=self.title, caption=self.footnote or None, show_header=bool(self.header))
        for side, name in zip(self._align, self.header or ("", ""), strict=True):
            is_whole = self.whole_numbers and side == "r"
            # What is too long for its column goes on in the next line; cut off, a number would be another number.
            table.add_column(
                escape(name),
                justify="right" if side == "r" else "left",
                no_wrap=is_whole,
                overflow="ellipsis" if is_whole else "fold",
            )
        for place, row in enumerate(self.rows):
            if self.sections and place and row[0] != self.rows[place - 1][0]:
                table.add_section()
            table.add_row(*map(escape, row), style="bold red" if place in self.warnings else None)
        return table

    def markdown(self) -> str:
        """Header and rows in Markdown; title and footnote are for the page that they stand on."""
        rules = ["---:" if side == "r" else "---" for side in self._align]
        return "".join("| " + " | ".join(line) + " |\n" for line in (self.header, rules, *self.rows))


def interval_text(estimate: Estimate | None) -> str:
    """A percentage with its interval; a dash for none.

    >>> from erprm.metrics.estimate import Estimate
    >>> interval_text(Estimate(mean=0.899, low=0.862, high=0.931))
    '89.9 [86.2, 93.1]'
    """
    if estimate is None:
        return "-"
    return f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def curves_table(
    title: str,
    curves: Mapping[str, Curve],
    ns: Sequence[int] | None = None,
    corner: str = "accuracy, % [95% interval]",
) -> Table:
    """A row for each curve, by its name, and a column for each n.

    Args:
        title: of the table.
        curves: with the same n.
        ns: which n to show; by default all.
        corner: what the cells hold.
    """
    ns = next(iter(curves.values())).n if ns is None else ns
    rows = [[name, *(interval_text(curve.at(n)) for n in ns)] for name, curve in curves.items()]
    return Table(title, [corner, *(f"n = {n}" for n in ns)], rows)


def short_names(paths: Sequence[str]) -> list[str]:
    """Names for paths that stand beside each other: the last part of each, or as many as tell them apart.

    >>> short_names(["runs/er/data", "runs/soft/data"])
    ['er/data', 'soft/data']
    """
    parts = [path.rstrip("/").split("/") for path in paths]
    for kept in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-kept:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
