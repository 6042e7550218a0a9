"""Drills: sheets of lines without their problems, from which a small model learns to write or to check such lines."""

from __future__ import annotations

import random
from collections.abc import Callable

from erprm.data.records import RolloutRecord
from erprm.demo.world import PROMPT, Row

_LINES = 14
_WRONG_SHARE = 0.5


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


def judged_drills(
    title: str, of_lines: list[list[str]], mistaken: Callable[[str, random.Random], str], rng: random.Random
) -> list[RolloutRecord]:
    """Sheets of lines of which half are made wrong, with 1 for a right line and 0 for a wrong one.

    Args:
        title: what stands in the place of a problem.
        of_lines: sheets of right lines.
        mistaken: makes a right line wrong.
        rng: what is drawn from.
    """
    records = []
    for number, lines in enumerate(of_lines):
        wrong = [rng.random() < _WRONG_SHARE for _ in lines]
        records.append(
            RolloutRecord(
                problem_id=f"drills/{number}",
                question=title,
                answer="",
                source="drills",
                steps=[mistaken(line, rng) if is_wrong else line for line, is_wrong in zip(lines, wrong, strict=True)],
                rewards=[[0.0 if is_wrong else 1.0] for is_wrong in wrong],
                correct=not wrong[-1],
                policy="",
                sampling="",
                seed=0,
            )
        )
    return records
