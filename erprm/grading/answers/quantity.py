"""Splits an expression into its value and what is written round it: unit, currency, number base, percent sign.

A unit is a product of powers, e.g. `cm^2` is {"length": 2} with factor (1/100)^2. Words that are not in the table
("apples", "ways") are no units: they say what was counted and do not decide a verdict. Times of day (`4:30 p.m.`,
`16:30:00`) are read here as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd

from erprm.grading.answers.numeric import Number, parse_number

# Units

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


# Quantities


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


# Times of day

_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?:\s*:\s*(?P<minute>\d{2}))?(?:\s*:\s*(?P<second>\d{2}))?\s*(?:\\text\s*\{)?\s*(?:(?P<half>[ap])\.?\s?m\.?)?\s*\}?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TimeOfDay:
    """A time on the clock.

    Attributes:
        seconds: since midnight, or since noon or midnight if `half` is None and the hour is at most 12.
        half: `"a"` or `"p"` where am or pm is written.
        certain: False for what may be a ratio as well, such as `2:15`.
    """

    seconds: int
    half: str | None
    certain: bool


def parse_time(text: str) -> TimeOfDay | None:
    """Reads a normalised answer as a time of day; None if it cannot be one."""
    match = _TIME.fullmatch(text)
    if match is None or (match["minute"] is None and match["half"] is None):
        return None
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    half = match["half"].lower() if match["half"] else None
    if minute > 59 or second > 59 or hour > (12 if half else 24):
        return None
    # A ratio is given in lowest terms and without leading zeros, so 4:30 and 12:00 are times.
    certain = half is not None or gcd(hour, minute) != 1 or text.startswith("0") or match["minute"].startswith("0")
    return TimeOfDay(((hour % 12 if half else hour) * 60 + minute) * 60 + second, half, certain)


def same_time(one: TimeOfDay, other: TimeOfDay) -> bool:
    """Equal on the clock; where only one says am or pm, the other may leave it out or count to 24."""
    if one.half and other.half:
        return one == other
    half_day, day = 12 * 3600, 24 * 3600
    if one.half or other.half:
        marked, bare = (one, other) if one.half else (other, one)
        in_full = marked.seconds + (half_day if marked.half == "p" else 0)
        return bare.seconds % day == in_full or (bare.seconds <= half_day and bare.seconds % half_day == marked.seconds)
    return one.seconds == other.seconds
