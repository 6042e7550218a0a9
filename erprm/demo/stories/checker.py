"""An exact check of every line of a solution, which says which step is the first wrong one.

A line is **right** if its arithmetic is right, all its numbers are known at that place, and it computes a part of the
answer, in whatever order or grouping. Known are the numbers of the problem, the results of lines before, and what the
template's own solution brings in, such as 60 minutes. A line that works rightly on the result of a wrong one
**follows** from it. Everything else is **wrong**. Units and other words are not checked, and a line without an equation
is right if it gives no number that is unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from erprm.demo.stories.lines import ANSWER, Expression, UnreadableLineError, numbers_in, read_equation
from erprm.demo.stories.templates import Template, literal_terms
from erprm.demo.stories.terms import Terms

Verdict = Literal["right", "follows", "wrong"]
_MOST_READINGS = 200
_SEVERITY: tuple[Verdict, ...] = ("right", "follows", "wrong")


@dataclass(frozen=True)
class Check:
    """What the checker says of a step.

    Attributes:
        verdict: right, follows or wrong.
        reason: why it is not right.
    """

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class _Quantity:
    """What a number may stand for; ``terms`` is None where that is past telling."""

    value: Fraction
    terms: Terms | None
    is_sound: bool = True


class StoryChecker:
    """Checks solutions to one problem."""

    def __init__(self, template: Template, numbers: Mapping[str, int]) -> None:
        """Takes the template and the given numbers, as an id tells them."""
        terms = template.terms
        values = template.values(numbers)
        assert values is not None
        results = [step.result for step in template.steps]
        self._answer = Fraction(values[results[-1]])
        self._parts = [terms[result] for result in results]
        self._given = [_Quantity(Fraction(number), terms[letter]) for letter, number in numbers.items()]
        self._given += [_Quantity(Fraction(number), literal_terms(number)) for number in template.literals]
        for letter in template.percentages:
            self._given += _as_decimals(numbers[letter], terms[letter])

    def check(self, steps: Sequence[str]) -> list[Check]:
        """What is to be said of each step, of one or more lines each."""
        known = list(self._given)
        checked = []
        for step in steps:
            lines = [line for line in step.splitlines() if line.strip()]
            checks = [self._line(line, known) for line in lines] or [Check("wrong", "there is nothing")]
            checked.append(max(checks, key=lambda check: _SEVERITY.index(check.verdict)))
        return checked

    def _line(self, line: str, known: list[_Quantity]) -> Check:
        """Checks one line, and adds its result to what is known."""
        if line.lstrip().startswith(ANSWER):
            return self._final(line, known)
        if "=" not in line:
            try:
                unknown = [number for number in numbers_in(line) if not _meanings(number, known)]
            except UnreadableLineError as error:
                return Check("wrong", str(error))
            return Check("wrong", f"{unknown[0]} is not known here") if unknown else Check("right")
        try:
            *sides, right = read_equation(line)
            result = right.evaluate(lambda _, leaf: Fraction(leaf), Fraction(100))
            if right.operator == "%" and sides[0].evaluate(lambda _, leaf: Fraction(leaf), Fraction(100)) != result:
                # "30 / 150 x 100 = 20%" means the number that stands there.
                right, result = right.parts[0], result * 100
            check, meanings = self._equation(sides, result, known)
        except UnreadableLineError as error:
            return Check("wrong", str(error))
        except ZeroDivisionError:
            return Check("wrong", "something is divided by zero")
        is_right = check.verdict == "right"
        known += [_Quantity(result, terms, is_right) for terms in meanings]
        if right.operator == "%":
            hundred = literal_terms(100)
            known += [_Quantity(result * 100, terms and terms * hundred, is_right) for terms in meanings]
        return check

    def _equation(
        self, sides: Sequence[Expression], result: Fraction, known: Sequence[_Quantity]
    ) -> tuple[Check, list[Terms | None]]:
        """The check of an equation, and what its result may stand for."""
        left = sides[0]
        values = [side.evaluate(lambda _, leaf: Fraction(leaf), Fraction(100)) for side in sides]
        is_exact = all(value == result for value in values)
        meanings = [_meanings(leaf, known) for leaf in left.leaves]
        unknown = [leaf for leaf, found in zip(left.leaves, meanings, strict=True) if not found]
        if unknown:
            return Check("wrong", f"{unknown[0]} is not known here"), [None]
        parts: list[Terms | None] = []
        from_wrong = False
        for reading in itertools.islice(itertools.product(*meanings), _MOST_READINGS):
            is_sound = all(quantity.is_sound for quantity in reading)
            from_wrong |= not is_sound
            terms = _terms_of(left, reading)
            if terms is None or not any(terms.is_part_of(part) for part in self._parts):
                continue
            if is_exact and is_sound:
                # Where a number may stand for two quantities, the reading that makes the line right counts.
                return Check("right"), [terms]
            parts.append(terms)
        if not is_exact:
            return Check("wrong", f"the result is {values[0]}"), parts or [None]
        if from_wrong:
            return Check("follows", "it builds on a wrong line"), parts or [None]
        return Check("wrong", "it computes no part of the answer"), [None]

    def _final(self, line: str, known: Sequence[_Quantity]) -> Check:
        try:
            numbers = numbers_in(line)
        except UnreadableLineError as error:
            return Check("wrong", str(error))
        if len(numbers) != 1:
            return Check("wrong", "the answer is not a single number")
        if Fraction(numbers[0]) == self._answer:
            return Check("right")
        if any(q.value == Fraction(numbers[0]) and not q.is_sound for q in known):
            return Check("follows", "it builds on a wrong line")
        return Check("wrong", "it is not the answer")


def first_wrong(checks: Iterable[Check]) -> int:
    """Place of the first wrong step, counted from 0; -1 if all are right, as in ProcessBench."""
    return next((place for place, check in enumerate(checks) if check.verdict == "wrong"), -1)


def _meanings(number: str, known: Iterable[_Quantity]) -> list[_Quantity]:
    """What a number may stand for, the latest first."""
    found: list[_Quantity] = []
    for quantity in reversed(list(known)):
        if quantity.value == Fraction(number) and quantity not in found:
            found.append(quantity)
    return found


def _terms_of(expression: Expression, reading: Sequence[_Quantity]) -> Terms | None:
    terms = [quantity.terms for quantity in reading if quantity.terms is not None]
    if len(terms) < len(reading):
        return None
    try:
        return expression.evaluate(lambda place, _: terms[place], literal_terms(100))
    except (OverflowError, ZeroDivisionError):
        return None


def _as_decimals(percentage: int, terms: Terms) -> list[_Quantity]:
    """20% written as 0.2, 1.2 or 0.8."""
    share, hundred = Fraction(percentage, 100), literal_terms(100)
    return [
        _Quantity(share, terms / hundred),
        _Quantity(1 + share, (hundred + terms) / hundred),
        _Quantity(1 - share, (hundred - terms) / hundred),
    ]
