"""Calculations without a story, right ones and ones that are judged."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from erprm.data.records import RolloutRecord
from erprm.demo.drills import sheets
from erprm.demo.stories.templates import Template
from erprm.demo.stories.writer import write_solution

TITLE = "Calculations:"
_WRONG_SHARE = 0.5
# A small model adds and multiplies small numbers well, so fewer of those are kept.
_HARD = (" - ", " / ")
_EASY_KEPT = 0.4


def calculations(templates: Sequence[Template], rng: random.Random) -> list[str]:
    """Lines of a solution to a new problem, fewer of those that a small model finds easy."""
    *steps, _ = write_solution(rng.choice(templates).draw(rng), rng).split("\n")
    return [step for step in steps if any(sign in step for sign in _HARD) or rng.random() < _EASY_KEPT]


def judged_drills(templates: Sequence[Template], rng: random.Random, count: int) -> list[RolloutRecord]:
    """Sheets of lines of which half have a wrong digit in the result, with 1 for a right line and 0 for a wrong one."""
    records = []
    for number, lines in enumerate(sheets(partial(calculations, templates), rng, count)):
        wrong = [rng.random() < _WRONG_SHARE for _ in lines]
        records.append(
            RolloutRecord(
                problem_id=f"drills/{number}",
                question=TITLE,
                answer="",
                source="drills",
                steps=[
                    miscalculated(line, rng) if is_wrong else line for line, is_wrong in zip(lines, wrong, strict=True)
                ],
                rewards=[[0.0 if is_wrong else 1.0] for is_wrong in wrong],
                correct=not wrong[-1],
                policy="",
                sampling="",
                seed=0,
            )
        )
    return records


def miscalculated(line: str, rng: random.Random) -> str:
    """A line with another digit in its result; the first digit does not become 0."""
    left, right = line.split(" = ")
    places = [place for place, character in enumerate(right) if character.isdigit()]
    place = rng.choice(places)
    digits = "123456789" if place == places[0] else "0123456789"
    digit = rng.choice(digits.replace(right[place], ""))
    return f"{left} = {right[:place]}{digit}{right[place + 1 :]}"
