"""Calculations without a story, right ones and wrong ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

from erprm.demo.stories.templates import Template
from erprm.demo.stories.writer import write_solution

TITLE = "Calculations:"
# A small model adds and multiplies small numbers well, so fewer of those are kept.
_HARD = (" - ", " / ")
_EASY_KEPT = 0.4


def calculations(templates: Sequence[Template], rng: random.Random) -> list[str]:
    """Lines of a solution to a new problem, fewer of those that a small model finds easy."""
    *steps, _ = write_solution(rng.choice(templates).draw(rng), rng).split("\n")
    return [step for step in steps if any(sign in step for sign in _HARD) or rng.random() < _EASY_KEPT]


def miscalculated(line: str, rng: random.Random) -> str:
    """A line with another digit in its result; the first digit does not become 0."""
    left, right = line.split(" = ")
    places = [place for place, character in enumerate(right) if character.isdigit()]
    place = rng.choice(places)
    digits = "123456789" if place == places[0] else "0123456789"
    digit = rng.choice(digits.replace(right[place], ""))
    return f"{left} = {right[:place]}{digit}{right[place + 1 :]}"
