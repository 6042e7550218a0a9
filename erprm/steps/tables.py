r"""Tables of Markdown and plain text, so that no style cuts one row by row.

    | n | f(n) |          n | f(n)           +---+------+
    |---|------|          --|-----           | n | f(n) |
    | 1 | 2    |          1 | 2              +---+------+

The first two kinds need their line of dashes, unless at least two lines in a row begin with "| " and end with " |".
"""

from __future__ import annotations

import re
from collections.abc import Callable

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
