"""Units of measurement: which spellings are the same unit, and exact factors between units of one dimension.

A unit is a product of powers, e.g. `cm^2` is {"length": 2} with factor (1/100)^2. Words that are not in the table
("apples", "ways") are no units: they say what was counted and do not decide a verdict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_TABLE: dict[str, tuple[str, Fraction, str]] = {}


def _define(dimension: str, factor: Fraction | int, spellings: str) -> None:
    for spelling in spellings.split():
        _TABLE[spelling] = (dimension, Fraction(factor), spellings.split()[0])


# Composite units, spelled out before reading.
_COMPOSITE = {"mph": "miles per hour", "kph": "km per hour", "kmh": "km per hour", "kmph": "km per hour"}
_COMPOSITE_WORD = re.compile(rf"\b(?:{'|'.join(_COMPOSITE)})\b")

_define("length", 1, "m meter meters metre metres")
_define("length", Fraction(1, 100), "cm centimeter centimeters centimetre centimetres")
_define("length", Fraction(1, 1000), "mm millimeter millimeters millimetre millimetres")
_define("length", 1000, "km kilometer kilometers kilometre kilometres")
_define("length", Fraction(254, 10000), "in inch inches")
_define("length", Fraction(3048, 10000), "ft foot feet")
_define("length", Fraction(9144, 10000), "yd yard yards")
_define("length", Fraction(1609344, 1000), "mi mile miles")
_define("mass", 1, "kg kilogram kilograms kilo kilos")
_define("mass", Fraction(1, 1000), "g gram grams gm")
_define("mass", Fraction(1, 1000000), "mg milligram milligrams")
_define("mass", Fraction(45359237, 100000000), "lb lbs pound pounds")
_define("mass", Fraction(45359237, 1600000000), "oz ounce ounces")
_define("time", 1, "s sec secs second seconds")
_define("time", 60, "min mins minute minutes")
_define("time", 3600, "h hr hrs hour hours")
_define("time", 86400, "day days")
_define("time", 604800, "week weeks")
_define("month", 1, "month months")
_define("month", 12, "yr yrs year years")
_define("volume", 1, "L l liter liters litre litres")
_define("volume", Fraction(1, 1000), "mL ml milliliter milliliters millilitre millilitres")
_define("gallon", 1, "gal gallon gallons")
_define("gallon", Fraction(1, 4), "qt quart quarts")
_define("gallon", Fraction(1, 8), "pt pint pints")
_define("gallon", Fraction(1, 16), "cup cups")
_define("money", 1, "\\$ dollar dollars USD")
_define("money", Fraction(1, 100), "cent cents ¢")
_define("angle", 1, "^\\circ degree degrees deg")
_define("radian", 1, "rad rads radian radians")
_define("temperature F", 1, "F Fahrenheit")
_define("temperature C", 1, "C Celsius")
_define("knot", 1, "knot knots")
_define("area acre", 1, "acre acres")
_define("area hectare", 1, "hectare hectares ha")

# Letters that are far more often variables: units only when written as text (`\text{ m}`) or with a power word.
_LOOKS_LIKE_A_VARIABLE = frozenset(("m", "s", "h", "g", "l", "L", "F", "C", "in"))

_POWER_WORDS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_WORDS = re.compile(r"\^\\circ|\\\$|[A-Za-z¢]+|\^\{?-?\d\}?|/|\d+|\S")


@dataclass(frozen=True)
class Unit:
    """A product of unit powers.

    Attributes:
        dimension: sorted (dimension, power) pairs, e.g. `(("length", 2),)`.
        factor: what one of it is in the base units of that dimension.
    """

    dimension: tuple[tuple[str, int], ...]
    factor: Fraction


def is_unit_word(word: str) -> bool:
    """True if `word` is in the table of units."""
    return word in _TABLE or word.lower() in _TABLE or word in _COMPOSITE or word.lower() in _POWER_WORDS


def may_be_variable(word: str) -> bool:
    """True for units whose name is more often a variable (`m`, `s`)."""
    return word in _LOOKS_LIKE_A_VARIABLE


def parse_unit(text: str) -> Unit | None:
    r"""Reads `square centimeters`, `cm^2`, `\text{ miles per hour}`, `^\circ`; None if any word is not a known unit."""
    powers: dict[str, int] = {}
    factor = Fraction(1)
    sign, pending, last = 1, 1, None
    text = _COMPOSITE_WORD.sub(lambda match: _COMPOSITE[match[0]], text)
    for token in _WORDS.findall(re.sub(r"\\text|\\ |[{}.]", lambda m: "" if m[0] in "{}" else " ", text)):
        if token in ("per", "/"):
            sign = -1
        elif token.lower() in _POWER_WORDS and token not in _TABLE:
            power = _POWER_WORDS[token.lower()]
            if token.lower() in ("squared", "cubed") and last is not None:
                dimension, unit_factor, unit_sign = last
                powers[dimension] += unit_sign * (power - 1)
                factor *= unit_factor ** (unit_sign * (power - 1))
            else:
                pending = power
        elif re.fullmatch(r"\^?-?\d", token) and last is not None:
            power = int(token.strip("^"))
            dimension, unit_factor, unit_sign = last
            powers[dimension] += unit_sign * (power - 1)
            factor *= unit_factor ** (unit_sign * (power - 1))
            last = None
        else:
            entry = _TABLE.get(token) or _TABLE.get(token.lower())
            if entry is None:
                return None
            dimension, unit_factor, _ = entry
            powers[dimension] = powers.get(dimension, 0) + sign * pending
            factor *= unit_factor ** (sign * pending)
            last = (dimension, unit_factor, sign)
            sign, pending = 1, 1
    if not powers:
        return None
    return Unit(tuple(sorted(powers.items())), factor)
