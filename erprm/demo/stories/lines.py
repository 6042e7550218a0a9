"""Lines of a solution in the manner of GSM8K: ``12 boxes x 4 pens = 48 pens``, and at the end ``#### 48``.

Words are read over. Between numbers stand ``+ - x * / ( )`` and ``% of``; a sum or product may have several parts, and
an equation several sides. Nothing is ever evaluated as a program.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

_Value = TypeVar("_Value", bound=Any)

ANSWER = "####"
_MOST_NUMBERS, _MOST_SIGNS, _MOST_DIGITS = 12, 60, 12
_CALCULATION = re.compile(r"<<[^<>]*>>")
_TOKEN = re.compile(
    r"(?P<number>\d[\d,]*(?:\.\d+)?)|(?P<word>\{\w+\}|[^\W\d_]+(?:[-'/’][^\W\d_]+)*)|(?P<sign>[-+*×/÷()%=−])|(?P<other>\S)"
)
_SIGNS = {"×": "*", "÷": "/", "−": "-"}


class UnreadableLineError(ValueError):
    """A line that is no equation of the kind described above."""


@dataclass(frozen=True)
class Expression:
    """One side of an equation.

    Attributes:
        operator: ``+ - * /``, ``%`` for a percentage, ``neg``, or nothing for a number or symbol.
        parts: what is combined.
        leaf: text of the number or symbol.
    """

    operator: str = ""
    parts: tuple[Expression, ...] = ()
    leaf: str = ""

    @property
    def leaves(self) -> list[str]:
        """The numbers and symbols, from left to right."""
        return [self.leaf] if not self.operator else [leaf for part in self.parts for leaf in part.leaves]

    def evaluate(self, value_of: Callable[[int, str], _Value], hundred: _Value) -> _Value:
        """The value over any numbers that can be added, multiplied and divided.

        Args:
            value_of: value of a leaf, from its place among the leaves and its text.
            hundred: what a percentage is divided by.

        Raises:
            ZeroDivisionError: where a quantity is divided by zero.
        """
        return self._evaluate(value_of, hundred, 0)[0]

    def _evaluate(self, value_of: Callable[[int, str], _Value], hundred: _Value, place: int) -> tuple[_Value, int]:
        if not self.operator:
            return value_of(place, self.leaf), place + 1
        first, place = self.parts[0]._evaluate(value_of, hundred, place)
        if self.operator == "neg":
            return -first, place
        if self.operator == "%":
            return first / hundred, place
        second, place = self.parts[1]._evaluate(value_of, hundred, place)
        if self.operator == "+":
            return first + second, place
        if self.operator == "-":
            return first - second, place
        return first * second if self.operator == "*" else first / second, place


def read_equation(line: str, *, symbols: bool = False) -> list[Expression]:
    """The sides of an equation, two or more, the last one a single number or percentage.

    Args:
        line: one line.
        symbols: letters by themselves are symbols, but for ``x``, which is a sign everywhere.

    Raises:
        UnreadableLineError: if the line is none.
    """
    sides: list[list[str]] = [[]]
    for token in _tokens(line, symbols):
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    if len(sides) < 2:
        raise UnreadableLineError("there is no equation")
    if sum(token[0].isalnum() for side in sides for token in side) > _MOST_NUMBERS:
        raise UnreadableLineError(f"there are more than {_MOST_NUMBERS} numbers")
    if sum(map(len, sides)) > _MOST_SIGNS:
        raise UnreadableLineError(f"there are more than {_MOST_SIGNS} numbers and signs")
    read = [_Reader(side).read() for side in sides]
    if read[-1].operator not in ("", "neg", "%") or len(read[-1].leaves) != 1:
        raise UnreadableLineError("what follows the last = is not a single number")
    return read


def numbers_in(line: str) -> list[str]:
    """The numbers of a line, as they stand there but for commas."""
    return [token for token in _tokens(line, symbols=False) if token[0].isdigit()]


def _tokens(line: str, symbols: bool) -> list[str]:
    tokens: list[str] = []
    for match in _TOKEN.finditer(_CALCULATION.sub("", line)):
        text = match.group()
        if match["number"]:
            digits = text.replace(",", "")
            if len(digits) > _MOST_DIGITS:
                raise UnreadableLineError(f"a number has more than {_MOST_DIGITS} digits")
            tokens.append(digits)
        elif match["sign"]:
            tokens.append(_SIGNS.get(text, text))
        elif text in ("x", "X") or (text == "of" and tokens[-1:] == ["%"]):
            tokens.append("*")
        elif symbols and match["word"] and len(text) == 1:
            tokens.append(text)
    return tokens


class _Reader:
    """Reads one side: sums of products of numbers, percentages and brackets."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.place = 0

    def read(self) -> Expression:
        expression = self._chain("+-", lambda: self._chain("*/", self._factor))
        if self.place < len(self.tokens):
            raise UnreadableLineError(f"{self.tokens[self.place]!r} stands where none can")
        return expression

    def _next(self, wanted: str) -> str:
        if self.place < len(self.tokens) and self.tokens[self.place] in wanted:
            self.place += 1
            return self.tokens[self.place - 1]
        return ""

    def _chain(self, operators: str, read_part: Callable[[], Expression]) -> Expression:
        expression = read_part()
        while operator := self._next(operators):
            expression = Expression(operator, (expression, read_part()))
        return expression

    def _factor(self) -> Expression:
        if self._next("-"):
            return Expression("neg", (self._factor(),))
        if self._next("("):
            inner = self._chain("+-", lambda: self._chain("*/", self._factor))
            if not self._next(")"):
                raise UnreadableLineError("a bracket is not closed")
            return inner
        if self.place == len(self.tokens) or not self.tokens[self.place][0].isalnum():
            raise UnreadableLineError("a number is missing")
        self.place += 1
        number = Expression(leaf=self.tokens[self.place - 1])
        return Expression("%", (number,)) if self._next("%") else number
