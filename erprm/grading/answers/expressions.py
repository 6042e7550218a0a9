"""Compares two expressions: choices, words, ratios, times, quantities, number bases, percentages, formulas."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Protocol

from erprm.grading.answers.numeric import numbers_equal, parse_number
from erprm.grading.answers.quantity import Quantity, parse_quantity, parse_time, parse_unit, same_time
from erprm.grading.answers.structure import split_top


class Symbolic(Protocol):
    """Judges formulas that differ in form."""

    def equal_expressions(self, gold: str, prediction: str) -> bool:
        """True if two LaTeX expressions have the same value, or the same value for all values of their letters."""

    def equal_relations(self, gold: str, prediction: str) -> bool:
        """True if two equations, inequalities or sets, given as LaTeX, describe the same thing."""


class NeedsSymbolicError(Exception):
    """Raised by `Undecided`: the verdict depends on algebra."""


class Undecided:
    """The `Symbolic` of a process without sympy: refuses, so that the caller knows to ask a worker."""

    def equal_expressions(self, gold: str, prediction: str) -> bool:
        """Raises NeedsSymbolicError."""
        raise NeedsSymbolicError

    def equal_relations(self, gold: str, prediction: str) -> bool:
        """Raises NeedsSymbolicError."""
        raise NeedsSymbolicError


# Multiple choice

_CHOICE = re.compile(
    r"(?:(?P<word>option|choice)\s*)?[(\[]?\s*(?:\\text\s*\{\s*)?[(\[]?\s*(?P<letter>[A-Za-z])\s*[)\]]?\s*\}?\s*[)\]]?\.?",
    re.IGNORECASE,
)
_WITH_TEXT = re.compile(
    r"(?:(?:option|choice)\s*)?(?:\\text\s*\{\s*)?"
    r"(?:\(\s*(?P<bracketed>[A-J])\s*\)(?:\s*\}\s*|\s*,?\s+)|(?P<marked>[A-J])\s*[):.]\s+)(?P<value>(?![-+=*/^_<>(\[|]).+)",
    re.DOTALL | re.IGNORECASE,
)


def choice_letter(text: str) -> str | None:
    """The letter, alone or with what it stands for, as a capital; None if `text` is no choice.

    Args:
        text: a normalised answer.
    """
    if match := _CHOICE.fullmatch(text):
        return match["letter"].upper()
    match = _WITH_TEXT.fullmatch(text)
    return (match["bracketed"] or match["marked"]).upper() if match else None


def without_choice(text: str) -> str:
    """The `12` of `(B) 12`; a text that names no letter as it is."""
    match = _WITH_TEXT.fullmatch(text)
    return match["value"] if match else text


def is_bare_choice(text: str) -> bool:
    """True if `text` is nothing but one letter and what may stand round it."""
    return _CHOICE.fullmatch(text) is not None


# Expressions

_TEXT = re.compile(r"(?:\\text\s*\{[^{}]*\}|[a-zA-Z'\-\s.,])+")


_MODULUS = re.compile(r"\\mod\s*(\d+)\s*$")
_BLANKS_NOT_IN_NUMBERS = re.compile(r"\s+(?!\d)|(?<!\d)\s+")


def _close_up(text: str) -> str:
    """Without blanks, except between digits: `4 2` is not 42."""
    return _BLANKS_NOT_IN_NUMBERS.sub("", text)


def equal_expressions(gold: str, prediction: str, symbolic: Symbolic) -> bool:
    """True if two normalised expressions (no lists, intervals or relations) are equal.

    Args:
        gold: the reference expression.
        prediction: the expression to judge.
        symbolic: asked if the two are formulas that differ in form.
    """
    if _close_up(gold) == _close_up(prediction):
        return True
    letters = choice_letter(gold), choice_letter(prediction)
    if letters[0] and letters[1]:
        return letters[0] == letters[1]
    times = parse_time(gold), parse_time(prediction)
    if times[0] and times[1] and (same_time(times[0], times[1]) or times[0].certain):
        return same_time(times[0], times[1])
    if ":" in gold + prediction and not (_is_text(gold) and _is_text(prediction)):
        return _equal_ratios(gold, prediction, symbolic)
    if _is_text(gold) or _is_text(prediction):
        return _plain_text(gold) == _plain_text(prediction)
    if parse_number(gold) is not None and (only := _only_number(prediction)):
        return equal_expressions(gold, only, symbolic)
    moduli = _MODULUS.search(gold), _MODULUS.search(prediction)
    if moduli[0] and moduli[1] and moduli[0][1] != moduli[1][1]:
        return False
    one, other = parse_quantity(gold), parse_quantity(prediction)
    if (one.unit is None) != (
        other.unit is None
    ):  # beside a unit, a bare letter is a unit as well: 15 m^2 for 15\\text{ m}^2
        one, other = parse_quantity(gold, lenient=True), parse_quantity(prediction, lenient=True)
    return _equal_quantities(one, other, symbolic)


def _is_text(text: str) -> bool:
    r"""True for words: `\text{east}`, `Evelyn`; a run of at most three bare letters may be a product of variables."""
    if not _TEXT.fullmatch(text):
        return False
    return "\\text" in text or any(len(word) > 3 for word in re.findall(r"[a-zA-Z]+", text))


_QUALIFIERS = re.compile(
    r"\b(?:not|no|least|most|than|between|over|under|above|below|about|approximately|roughly|around|almost|nearly"
    r"|except|minus|negative|half|twice|thrice|dozen|percent|per|first|second|third|every|each|or|to|never|squared|cubed|plus|times"
    r"|impossible|undefined|without|unless|if|when|(?<!total )of)\b",
    re.IGNORECASE,
)
_INTRODUCES = re.compile(
    r"\b(?:is|are|was|be|being|equals?|gives?|gets?|has|have|needs?|costs?|takes?|makes?|answer|result|exactly|only|just|value"
    r"|total|total of)[\s,'-]*$",
    re.IGNORECASE,
)
_NUMBER_AMONG_WORDS = re.compile(
    r"([a-zA-Z\s,'-]*(?<![a-zA-Z]))(?<![\d.])(-?(?:\\\$)?\d[\d,]*(?:\.\d+)?)(?![\d.])([a-zA-Z\s,'-]*)"
)


def _only_number(text: str) -> str | None:
    """The number in `There are 460 ways`; None where words qualify it, or where it may be a product of letters."""
    match = _NUMBER_AMONG_WORDS.fullmatch(re.sub(r"\\text|[{}]", " ", text))
    if match is None or _QUALIFIERS.search(text) or parse_unit(match[3].strip()) is not None:
        return None
    if match[1].strip() and not _INTRODUCES.search(match[1]):  # "divisible by 6"
        return None
    words = re.findall(r"[a-zA-Z]+", match[1] + " " + match[3])
    if not any(len(word) > 3 for word in words) or (match[1] + match[3]).strip() == "":
        return None
    return match[2]


def _plain_text(text: str) -> str:
    bare = re.sub(r"\\text|[^a-zA-Z\d]", "", text).casefold()
    return re.sub(r"^(?:the|an?)(?=[a-z]{3})", "", bare) if text.lower().startswith(("the ", "a ", "an ")) else bare


def _equal_ratios(gold: str, prediction: str, symbolic: Symbolic) -> bool:
    """`22:42` is `11:21` and 11/21."""
    colon = frozenset((":",))
    one, other = split_top(gold, colon)[0], split_top(prediction, colon)[0]
    if len(one) == len(other) == 1:  # the colon stands inside brackets
        return _equal_values(gold, prediction, symbolic)
    if len(one) == 2 and len(other) == 1:
        other = [prediction, "1"]
    elif len(other) == 2 and len(one) == 1:
        one = [gold, "1"]
    if len(one) != len(other):
        return False
    numbers = [[parse_number(part.strip()) for part in parts] for parts in (one, other)]
    values = [[number.value for number in row if number is not None] for row in numbers]
    if len(values[0]) == len(values[1]) == len(one):
        return _proportional(*values)
    return all(equal_expressions(a.strip(), b.strip(), symbolic) for a, b in zip(one, other, strict=True))


def _proportional(one: list[Fraction], other: list[Fraction]) -> bool:
    """True if one is the other times a number that is not 0."""
    if [value == 0 for value in one] != [value == 0 for value in other]:
        return False
    factors = {a / b for a, b in zip(one, other, strict=True) if b != 0}
    return len(factors) <= 1


def _equal_quantities(gold: Quantity, prediction: Quantity, symbolic: Symbolic) -> bool:
    if gold.base is not None or prediction.base is not None:
        return _equal_in_base(gold, prediction)
    if (gold.percent and prediction.unit) or (prediction.percent and gold.unit):
        return False
    if gold.unit is not None and prediction.unit is not None and gold.unit != prediction.unit:
        return _equal_in_units(gold, prediction, symbolic)
    if gold.percent != prediction.percent:
        return _equal_percent(gold, prediction, symbolic)
    return _equal_values(gold.value, prediction.value, symbolic)


def _equal_values(gold: str, prediction: str, symbolic: Symbolic) -> bool:
    one, other = parse_number(gold), parse_number(prediction)
    if one is not None and other is not None:
        return numbers_equal(one, other)
    if not gold or not prediction:
        return False
    if _close_up(gold) == _close_up(prediction):
        return True
    return symbolic.equal_expressions(gold, prediction)


def _equal_in_base(gold: Quantity, prediction: Quantity) -> bool:
    """`2516_8` needs the same digits and the same base, if one is given; a gold without base is decimal."""
    if gold.unit or gold.percent or prediction.unit or prediction.percent:
        return False
    if gold.base is None:
        number = gold.number
        return number is not None and number.value == _value_in_base(prediction)
    return gold.value == prediction.value and prediction.base in (None, gold.base)


def _value_in_base(quantity: Quantity) -> int | None:
    try:
        return int(quantity.value, quantity.base or 10)
    except ValueError:  # a digit that the base does not have, or a base above 36
        return None


_DEGREE = parse_unit("^\\circ")
_RADIAN = parse_unit("rad")


def _equal_in_units(gold: Quantity, prediction: Quantity, symbolic: Symbolic) -> bool:
    """Both units are known and differ: convert exactly within one dimension, or between degrees and radians."""
    assert gold.unit is not None
    assert prediction.unit is not None
    if (gold.unit, prediction.unit) == (_DEGREE, _RADIAN):
        return symbolic.equal_expressions(f"\\frac{{({gold.value}) \\pi}}{{180}}", prediction.value)
    if (gold.unit, prediction.unit) == (_RADIAN, _DEGREE):
        return symbolic.equal_expressions(gold.value, f"\\frac{{({prediction.value}) \\pi}}{{180}}")
    if gold.unit.dimension != prediction.unit.dimension:
        return False
    one, other = gold.number, prediction.number
    if one is None or other is None:
        factor = prediction.unit.factor / gold.unit.factor
        scaled = f"\\frac{{{factor.numerator}}}{{{factor.denominator}}} ({prediction.value})"
        return symbolic.equal_expressions(gold.value, scaled)
    return one.value * gold.unit.factor == other.value * prediction.unit.factor


def _equal_percent(gold: Quantity, prediction: Quantity, symbolic: Symbolic) -> bool:
    """`28%` is 28 (the sign as a unit) and 0.28 (its value); a bare number below 1 is read as a value only."""
    with_sign, bare = (gold, prediction) if gold.percent else (prediction, gold)
    sign_number, bare_number = with_sign.number, bare.number
    if sign_number is None or bare_number is None:
        return _equal_values(gold.value, prediction.value, symbolic)
    if sign_number.value == bare_number.value:
        return abs(sign_number.value) >= 1 or sign_number.value == 0
    return sign_number.value == bare_number.value * Fraction(100)
