"""Drills: sheets of lines without their problems, from which a small model learns to write such lines."""

from __future__ import annotations

import random
from collections.abc import Callable

from erprm.demo.world import PROMPT, Row

_LINES = 14


def sheets(lines_of_solution: Callable[[random.Random], list[str]], rng: random.Random, count: int) -> list[list[str]]:
    """Sheets of right lines in random order, each from a solution to another problem.

    Args:
        lines_of_solution: draws a problem; the lines to keep of its solution.
        rng: what is drawn from.
        count: sheets, of 14 lines each.
    """
    lines: list[str] = []
    while len(lines) < count * _LINES:
        lines += lines_of_solution(rng)
    rng.shuffle(lines)
    return [lines[start : start + _LINES] for start in range(0, count * _LINES, _LINES)]


def drills(title: str, of_lines: list[list[str]]) -> list[Row]:
    """Sheets under a title, as rows of policy data."""
    return [{"prompt": PROMPT.text(title), "completion": "\n".join(lines)} for lines in of_lines]
