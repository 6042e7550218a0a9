"""Calculations without a story, from which a small model learns to calculate before it reads problems."""

from __future__ import annotations

import random
from collections.abc import Sequence

from erprm.demo.stories.templates import Template
from erprm.demo.stories.writer import write_solution
from erprm.demo.world import Row

_PROMPT = "Calculations:\n"
_LINES = 14
# A small model adds and multiplies small numbers well, so fewer of those are kept.
_HARD = (" - ", " / ")
_EASY_KEPT = 0.4


def drills(templates: Sequence[Template], rng: random.Random, count: int) -> list[Row]:
    """Sheets of right lines, each from a solution to another problem: rows of policy data."""
    lines: list[str] = []
    while len(lines) < count * _LINES:
        *steps, _ = write_solution(rng.choice(templates).draw(rng), rng).split("\n")
        lines += [step for step in steps if any(sign in step for sign in _HARD) or rng.random() < _EASY_KEPT]
    rng.shuffle(lines)
    return [
        {"prompt": _PROMPT, "completion": "\n".join(lines[start : start + _LINES])}
        for start in range(0, count * _LINES, _LINES)
    ]
