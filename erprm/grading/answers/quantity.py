"""Splits an expression into its value and what is written round it: unit, currency, number base, percent sign."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from erprm.grading.answers.numeric import Number, parse_number
from erprm.grading.answers.units import Unit, is_unit_word, may_be_variable, parse_unit


@dataclass(frozen=True)
class Quantity:
    """A value with what is written round it.

    Attributes:
        value: the value's text, without unit, base and percent sign.
        unit: the unit, if it is a known one.
        base: the base of `2516_8`.
        percent: whether a percent sign follows.
    """

    value: str
    unit: Unit | None = None
    base: int | None = None
    percent: bool = False

    @property
    def number(self) -> Number | None:
        """The value if it is a plain number."""
        return parse_number(self.value)


_BASE_WORDS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "sixteen": 16,
}
_BASE = re.compile(
    r"(?P<digits>[-+]?\s*(?:[\dA-F]|\\text\s*\{[\dA-F]+\})[\dA-F ,]*)"
    r"(?:_\s*\{?\s*(?:\\text\s*\{)?\s*(?:base\s*)?(?P<subscript>\d{1,2}|[a-z]+)\s*\}*"
    r"|\s*\(?(?:\\text\s*\{)?\s*\(?\s*(?:in\s+)?base[\s-]+(?P<words>\d{1,2}|[a-z]+)\s*\)?\s*\}?\s*\)?)"
)
_PERCENT = re.compile(
    r"\s*(?:%|\\text\s*\{\s*(?:%|percent(?:age)?|pct)\s*\}|(?<![a-zA-Z])(?:percent(?:age)?|pct)\b)\s*$", re.IGNORECASE
)
_UNIT_TAIL = re.compile(
    r"(?P<value>.*?[\d})\]|\w.!]|\\pi)\s*(?P<unit>(?:\^\\circ|\\text\s*\{[^{}]*\}\s*(?:\^\s*\{?\s*-?\d\s*\}?)?"
    r"|(?:(?<=[\d})\s/])[a-zA-Z¢]+(?:\^\s*\{?\s*-?\d\s*\}?)?)|[/\s])+)",
    re.DOTALL,
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_OPERATIONS = frozenset(("squared", "cubed", "factorial", "plus", "minus", "modulo", "mod", "base"))
_WORD = re.compile(r"[a-zA-Z¢]+")


@lru_cache(maxsize=16384)
def parse_quantity(text: str, lenient: bool = False) -> Quantity:
    """Splits a normalised expression into value, unit, base and percent sign.

    Args:
        text: a normalised expression.
        lenient: also take a bare letter such as `m` or `s` for a unit; without it that is a variable.
    """
    if match := _BASE.fullmatch(text):
        word = match["subscript"] or match["words"]
        base = int(word) if word.isdigit() else _BASE_WORDS.get(word)
        if base is not None and base >= 2:
            return Quantity(re.sub(r"\\text|[\s{},]", "", match["digits"]), base=base)
    dollars = re.match(r"(-?)\s*\\\$\s*(-?)", text)
    if dollars:
        rest = parse_quantity((dollars[1] or dollars[2]) + text[dollars.end() :])
        return Quantity(rest.value, rest.unit or parse_unit("\\$"), rest.base, rest.percent)
    if match := _PERCENT.search(text):
        return Quantity(text[: match.start()].replace("%", "").strip(), percent=True)
    if text.endswith("\\$"):
        return Quantity(text[:-2].strip(), parse_unit("\\$"))
    if parse_number(text) is not None:
        return Quantity(text)
    return _split_unit(text, lenient)


def _split_unit(text: str, lenient: bool) -> Quantity:
    match = _UNIT_TAIL.fullmatch(text)
    if match is None or (
        _TRIGONOMETRIC.search(match["value"]) and "\\circ" in match["unit"]
    ):  # the angle of \sin 30^\circ
        return Quantity(text)
    value, unit = match["value"].strip(), match["unit"].strip()
    written_as_text = "\\text" in unit or "^\\circ" in unit
    words = _WORD.findall(re.sub(r"\\text|\\circ", " ", unit))
    if parse_unit(unit) is None and _OPERATIONS.intersection(words):
        return Quantity(text)
    numeric = parse_number(value) is not None
    spaced = text[len(value)] == " "
    if written_as_text or _are_units(words, numeric, numeric and spaced and len(words) > 1, lenient):
        return Quantity(value, parse_unit(unit))
    return Quantity(text)


def _are_units(words: list[str], numeric: bool, compound: bool, lenient: bool) -> bool:
    """True if bare words after a value are units or counted things ("5 apples") and not variables."""
    if all(is_unit_word(word) or word == "per" for word in words):
        return lenient or compound or not any(may_be_variable(word) for word in words)
    return numeric and all(len(word) > 2 or is_unit_word(word) for word in words)
