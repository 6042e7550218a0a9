r"""Sets of real numbers with numeric ends: unions that join, conditions that hold together, the line without points.

`[1,2] \cup [2,3]` is `[1,3]`; `x > 3, x < 5` is `(3,5)`; `\mathbb{R} \setminus \{3\}` is the line without 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from erprm.grading.answers.numeric import parse_number
from erprm.grading.answers.tree import Answer, Expression, Sequence, Union

End = Fraction | float  # a float is one of the two infinities


@dataclass(frozen=True)
class Interval:
    """An interval; a single point is closed at both of its equal ends."""

    low: End
    high: End
    closed_low: bool = False
    closed_high: bool = False

    @property
    def is_empty(self) -> bool:
        """True if no number lies in it."""
        return self.low > self.high or (self.low == self.high and not (self.closed_low and self.closed_high))


LINE = (Interval(-math.inf, math.inf),)


def join(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The union as disjoint intervals in order; two that meet in a point of either become one."""
    joined: list[Interval] = []
    for part in sorted(
        (part for part in intervals if not part.is_empty), key=lambda part: (part.low, not part.closed_low)
    ):
        last = joined[-1] if joined else None
        touches = last is not None and (
            part.low < last.high or (part.low == last.high and (part.closed_low or last.closed_high))
        )
        if last is None or not touches:
            joined.append(part)
            continue
        high, closed = max((last.high, last.closed_high), (part.high, part.closed_high))
        joined[-1] = Interval(last.low, high, last.closed_low, closed)
    return tuple(joined)


def intersect(one: Iterable[Interval], other: Iterable[Interval]) -> tuple[Interval, ...]:
    """Intersection of two unions, as disjoint intervals in order."""
    parts = []
    for a in one:
        for b in other:
            low, open_low = max((a.low, not a.closed_low), (b.low, not b.closed_low))
            high, closed_high = min((a.high, a.closed_high), (b.high, b.closed_high))
            parts.append(Interval(low, high, not open_low, closed_high))
    return join(parts)


def without(points: Iterable[Fraction]) -> tuple[Interval, ...]:
    """The real line without some points."""
    ends: list[End] = [-math.inf, *sorted(set(points)), math.inf]
    return tuple(Interval(low, high) for low, high in itertools.pairwise(ends))


def combine(conditions: Iterable[Iterable[Interval]]) -> tuple[Interval, ...]:
    """Conditions written in a row: all of them where together they would exclude nothing, else any of them.

    `x > 3, x < 5` can only mean both, `x < 3, x > 5` only one of the two.
    """
    union = join([part for condition in conditions for part in condition])
    if union != LINE:
        return union
    both: tuple[Interval, ...] = LINE
    for condition in conditions:
        both = intersect(both, condition)
    return both


def interval(opener: str, start: str, end: str, closer: str) -> Sequence:
    """The interval between two ends given as text."""
    return Sequence((Expression(start), Expression(end)), opener + closer, f"{start},{end}")


def real_intervals(answer: Answer) -> tuple[Interval, ...] | None:
    """An interval, a set of numbers or a union of them as numbers; None if an end is neither a number nor infinity."""
    if isinstance(answer, Union):
        parts = [real_intervals(part) for part in answer.parts]
        known = [part for part in parts if part is not None]
        return join([each for part in known for each in part]) if len(known) == len(parts) else None
    if not isinstance(answer, Sequence) or not answer.items:
        return None
    ends = [_end(item) for item in answer.items]
    values = [end for end in ends if end is not None]
    if len(values) != len(ends):
        return None
    if answer.brackets == "{}":
        return join([Interval(value, value, True, True) for value in values])
    if answer.brackets not in ("()", "[]", "(]", "[)") or len(values) != 2 or not values[0] < values[1]:
        return None
    return (Interval(values[0], values[1], answer.brackets[0] == "[", answer.brackets[1] == "]"),)


def _end(answer: Answer) -> End | None:
    if not isinstance(answer, Expression):
        return None
    compact = answer.text.replace(" ", "")
    if compact.lstrip("+-") == "\\infty":
        return -math.inf if compact.startswith("-") else math.inf
    number = parse_number(answer.text)
    return None if number is None else number.value


def answer_of(parts: tuple[Interval, ...]) -> Answer:
    """Intervals as an answer."""
    answers: list[Answer] = []
    for part in parts:
        low, high = (_end_text(end) for end in (part.low, part.high))
        if part.low == part.high:
            answers.append(Sequence((Expression(low),), "{}", low))
        else:
            answers.append(interval("[" if part.closed_low else "(", low, high, "]" if part.closed_high else ")"))
    return answers[0] if len(answers) == 1 else Union(tuple(answers))


def _end_text(end: End) -> str:
    if isinstance(end, Fraction):
        return str(end)
    return "\\infty" if end > 0 else "-\\infty"
