r"""Blocks of a solution that no step ends in: code, formulas and tables.

    The area is                        a full stop, a blank line or "2. " within a block ends no step
    \[
    A = 3 \cdot 4

      = 12.                            <- still the same block
    \]
    so it costs $5 or $6, not $x + y$. <- "$5 or $" is money, "$x + y$" a formula

    | n | f(n) |                       <- a table is a block as well
    |---|------|
    | 1 | 2    |

Found from left to right in one pass: what starts within a block is part of it, and an opening delimiter that is never
closed opens nothing (but for a code fence, which lasts to the end of the text, as in CommonMark 0.31).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    r"""A stretch of code, a formula or a table.

    Attributes:
        start: where its opening delimiter starts.
        stop: where its closing delimiter ends.
        display: whether it stands by itself (a code fence, a table, ``$$``, ``\[``, ``\begin``, ``[asy]``) or within a
            line.
    """

    start: int
    stop: int
    display: bool


_DELIMITER = re.compile(
    r"""
      ^[ \t]* (?: (?:[-*+] | \d{1,3}[.)]) [ \t]+ )? (?P<fence> `{3,} (?=[^`\n]*$) | ~{3,} ) (?P<info> [^\n]* )
    | (?P<late> `{3,} (?= (?P<late_info> [ \t]*[\w+#.-]*[ \t\r]* ) $) )   # a fence behind words on its line
    | (?P<ticks> `+ )
    | \\[\\$]                                   # an escaped sign; also the line break before "[2pt]"
    | \\(?P<bracket> [][()] )
    | \\(?P<side> begin | end ) \{ (?P<name> [A-Za-z]{1,30}\*? ) \}
    | \[(?P<asy> /? asy ) \]                     # drawings in MATH
    | <(?P<html> /? table ) \b [^>\n]* >
    | (?P<dollars> \$\$ )
    | (?P<dollar> \$ )
    """,
    re.VERBOSE | re.MULTILINE,
)
_DISPLAY_SIGNS = ("```", "~~~", "$$", "\\[", "\\begin", "[asy]", "<table")
_CLOSED_BY = {"$$": "$$", "[": "]", "asy": "/asy", "table": "/table"}
_CLOSING_KINDS = ("ticks", "bracket", "dollars", "dollar", "asy", "html")
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")


def find_blocks(text: str) -> list[Block]:
    """The blocks of a text, in order, without overlap."""
    blocks = []
    if any(sign in text for sign in ("$", "\\", "`", "~~~", "[asy]", "<table")):
        blocks = _Scan(text).blocks()
    displayed = Cover([block for block in blocks if block.display])
    tables = find_tables(text, displayed.__contains__)
    if not tables:
        return blocks
    starts, stops = zip(*tables, strict=True)
    # A table ends after the block's start only if it starts before the block's end: they overlap.
    kept = [block for block in blocks if bisect_right(stops, block.start) == bisect_left(starts, block.stop)]
    return sorted([*kept, *(Block(*table, display=True) for table in tables)], key=lambda block: block.start)


class _Scan:
    """The delimiters of one text, and which of them close what."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.delimiters = list(_DELIMITER.finditer(text))
        self.blank_lines = [match.start() for match in _BLANK_LINE.finditer(text)]
        # Indices of the delimiters that can close each kind of block.
        self.closing: dict[str, list[int]] = defaultdict(list)
        self.end_of: dict[int, int] = {}
        self._pair_up()

    def _pair_up(self) -> None:
        open_environments: dict[str, list[int]] = defaultdict(list)
        for index, match in enumerate(self.delimiters):
            if fence := match["fence"] or match["late"]:
                if not (match["info"] or match["late_info"] or "").strip():
                    self.closing["fence" + fence[0]].append(index)
            elif kind := next((match[name] for name in _CLOSING_KINDS if match[name]), None):
                self.closing[kind].append(index)
            elif match["side"] == "begin":
                open_environments[match["name"]].append(index)
            elif match["side"] == "end" and open_environments[match["name"]]:
                self.end_of[open_environments[match["name"]].pop()] = index

    def blocks(self) -> list[Block]:
        blocks = []
        index = 0
        while index < len(self.delimiters):
            closing = self._closing(index)
            if closing is not None:
                match = self.delimiters[index]
                inline = match["ticks"] or match["dollar"] or match["bracket"] == "("
                stop = self.delimiters[closing].end() if closing < len(self.delimiters) else len(self.text)
                start = match.start("fence") if match["fence"] else match.start()
                blocks.append(Block(start, stop, display=not inline))
                index = closing
            index += 1
        return blocks

    def _closing(self, index: int) -> int | None:
        """Index of the delimiter that closes the block which delimiter ``index`` opens; ``None`` if it opens none."""
        match = self.delimiters[index]
        if match["fence"] or match["late"]:
            return self._closing_fence(index)
        if match["side"]:
            return self.end_of.get(index)
        if kind := _CLOSED_BY.get(match["dollars"] or match["bracket"] or match["asy"] or match["html"]):
            return self._next(kind, index)
        return self._closing_within_paragraph(index)

    def _closing_within_paragraph(self, index: int) -> int | None:
        match = self.delimiters[index]
        kind = match["ticks"] or match["dollar"] or (")" if match["bracket"] == "(" else "")
        closing = self._next(kind, index)
        if closing is None or self._blank_line_between(index, closing):
            return None
        if match["dollar"] and not self._is_formula(match.end(), self.delimiters[closing].start()):
            return None
        return closing

    def _next(self, kind: str, index: int) -> int | None:
        places = self.closing.get(kind, [])
        place = bisect_right(places, index)
        return places[place] if place < len(places) else None

    def _closing_fence(self, index: int) -> int | None:
        """A fence that begins its line and is never closed lasts to the end; one behind words opens nothing then."""
        fence = self._fence(index)
        closing = self._next("fence" + fence[0], index)
        while closing is not None and len(self._fence(closing)) < len(fence):
            closing = self._next("fence" + fence[0], closing)
        if closing is None and self.delimiters[index]["fence"]:
            return len(self.delimiters)
        return closing

    def _fence(self, index: int) -> str:
        match = self.delimiters[index]
        return str(match["fence"] or match["late"])

    def _blank_line_between(self, index: int, closing: int) -> bool:
        place = bisect_left(self.blank_lines, self.delimiters[index].start())
        return place < len(self.blank_lines) and self.blank_lines[place] < self.delimiters[closing].start()

    def _is_formula(self, start: int, stop: int) -> bool:
        """True if the text between two dollar signs is a formula, not what is between two prices (pandoc's rule)."""
        inside, after = self.text[start:stop], self.text[stop + 1 : stop + 2]
        return bool(inside) and not inside[0].isspace() and not inside[-1].isspace() and not after.isdigit()


class Cover:
    """Tells whether a place in a text lies within a block."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        """Takes blocks in order, without overlap."""
        self._starts = [block.start for block in blocks]
        self._stops = [block.stop for block in blocks]

    def __contains__(self, place: int) -> bool:
        index = bisect_right(self._starts, place) - 1
        return index >= 0 and place < self._stops[index]


def display_cover(text: str) -> Cover:
    """The blocks of a text that may run over several lines."""
    if not any(sign in text for sign in _DISPLAY_SIGNS):
        return Cover([Block(*table, display=True) for table in find_tables(text, lambda _: False)])
    return Cover([block for block in find_blocks(text) if block.display])


# Tables
#
#    | n | f(n) |          n | f(n)           +---+------+
#    |---|------|          --|-----           | n | f(n) |
#    | 1 | 2    |          1 | 2              +---+------+
#
# The first two kinds need their line of dashes, unless at least two lines in a row begin with "| " and end with " |".

_LINE = re.compile(r"[^\n]*\n?")
_DASHES = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t\r]*\Z")
_BORDER = re.compile(r"[ \t]*\+(?:[-=:]+\+)+[ \t\r]*\Z")
_BOXED_ROW = re.compile(r"[ \t]*\|[ \t].*[ \t]\|[ \t\r]*\Z")
_BOX_DRAWING = re.compile(r"^[ \t]*[┌├└│║╔╠╚┃┏┣┗]", re.MULTILINE)
_BAR = re.compile(r"\|")
_SPACED_BAR = re.compile(r"(?<!\S)\|(?!\S)")
_FORMULA = re.compile(r"\$[^$\n]*\$|`[^`\n]*`|\\\(.*?\\\)|\\\|")


def find_tables(text: str, excluded: Callable[[int], bool]) -> list[tuple[int, int]]:
    """The tables of a text as ``(start, stop)``, in order.

    Args:
        text: a solution.
        excluded: whether the line that starts at a place belongs to something else, such as code.
    """
    if "|" not in text and not _BOX_DRAWING.search(text):
        return []
    lines = [(match.start(), match[0].rstrip("\n")) for match in _LINE.finditer(text) if match[0]]
    tables = []
    index = 0
    while index < len(lines):
        start, header = lines[index]
        is_row = None if excluded(start) or index + 1 == len(lines) else _row_test(header, lines[index + 1][1])
        index += 1
        if is_row is not None:
            index += 1
            while index < len(lines) and is_row(lines[index][1]):
                index += 1
            last_start, last = lines[index - 1]
            tables.append((start, last_start + len(last.rstrip())))
    return tables


def _row_test(header: str, second: str) -> Callable[[str], bool] | None:
    """Test for the rows below two lines; ``None`` if the two do not begin a table."""
    if "|" in header and "|" in second and _DASHES.match(second):
        return _like(header)
    return _is_boxed if _is_boxed(header) and _is_boxed(second) else None


def _like(header: str) -> Callable[[str], bool]:
    """Test for rows below the header: a row starts with a bar if the header does, else it has as many bars."""
    if header.lstrip().startswith("|"):
        return lambda line: line.lstrip().startswith("|")
    # In a text after the table, "|x|" is a formula.
    bar = _SPACED_BAR if len(_bars(_SPACED_BAR, header)) == len(_bars(_BAR, header)) else _BAR
    return lambda line: len(_bars(bar, line)) == len(_bars(bar, header))


def _bars(bar: re.Pattern[str], line: str) -> list[str]:
    return bar.findall(_FORMULA.sub("", line))


def _is_boxed(line: str) -> bool:
    return bool(_BOXED_ROW.match(line) or _BORDER.match(line) or _BOX_DRAWING.match(line))
