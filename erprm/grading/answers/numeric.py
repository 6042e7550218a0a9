r"""Exact arithmetic on numbers as they are written: `1,450,000`, `-3/8`, `2.50`, `1\frac{4}{5}`, `3 \times 10^{5}`.

Everything is a `fractions.Fraction`, so `.0000673` never equals `.0000672` and `0.1 + 0.2` questions do not arise.
Nothing here needs sympy; a GSM8K verdict ends in this module.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# Python refuses to convert longer digit strings to int (CVE-2020-10735); a longer "number" is compared as text.
MAX_DIGITS = 4000
MAX_EXPONENT = 400
# A repeating or irrational gold (8/3) is matched by a prediction rounded to this many significant digits or more
# (2.667), a rounded gold (33.3) by any exact value that rounds to it if it shows at least this many digits.
MIN_DIGITS_ROUNDED_PREDICTION = 4
MIN_DIGITS_ROUNDED_GOLD = 3
MIN_DIGITS_CUT_OFF = 6

THOUSANDS = r"\d{1,3}(?:,\d{3})+"
_UNSIGNED = rf"(?:{THOUSANDS}|\d+)(?:\.\d*)?|\.\d+"
_DECIMAL = re.compile(rf"(?P<sign>[-+]?)\s*(?P<digits>{_UNSIGNED})(?:[eE](?P<exponent>[-+]?\d{{1,4}}))?")
_SCIENTIFIC = re.compile(
    rf"(?P<mantissa>[-+]?\s*(?:{_UNSIGNED}))\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*(?P<braced>[-+]?\d{{1,4}})\s*\}}|(?P<bare>-?\d{{1,4}}))"
)
_REPEATING = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<whole>\d*)\.(?P<fixed>\d*)\s*"
    r"(?:\\(?:overline|bar|overbar)\s*\{(?P<barred>\d+)\}|\((?P<bracketed>\d+)\)"
    r"|\\dot\s*\{?(?P<first>\d)\}?(?:(?P<between>\d*)\s*\\dot\s*\{?(?P<last>\d)\}?)?)"
    r"\s*(?:,?\s*\\dots|\.{2,})?"
)
_GOES_ON = re.compile(r"(?P<sign>[-+]?)\s*(?P<whole>\d*)\.(?P<digits>\d{1,200})\s*(?:,?\s*\\dots|\.{2,})")
_SLASH = re.compile(rf"(?P<numerator>[-+]?\s*(?:{_UNSIGNED}))\s*/\s*(?P<denominator>{_UNSIGNED})")
_LATEX_FRACTION = re.compile(r"(?P<sign>[-+]?)\s*\\frac\s*\{(?P<numerator>[^{}]*)\}\s*\{(?P<denominator>[^{}]*)\}")
_MIXED = re.compile(r"(?P<sign>[-+]?)\s*(?P<whole>\d+)\s+(?P<numerator>\d+)\s*/\s*(?P<denominator>\d+)")


@dataclass(frozen=True)
class Number:
    """A number and how it was written.

    Attributes:
        value: the exact value.
        places: digits after the decimal point as written (`2.50` has 2), or None if it is no decimal (`5`, `1/3`).
        significant: significant digits as written, 0 if it is no decimal.
    """

    value: Fraction
    places: int | None = None
    significant: int = 0


def _decimal(match: re.Match[str]) -> Number | None:
    digits = match["digits"].replace(",", "")
    if len(digits) > MAX_DIGITS:
        return None
    whole, point, fraction = digits.partition(".")
    value = Fraction(int(whole + fraction or "0"), 10 ** len(fraction))
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > MAX_EXPONENT:
        return None
    value *= Fraction(10) ** exponent
    if match["sign"] == "-":
        value = -value
    if not point or not fraction:
        return Number(value)
    significant = len((whole + fraction).lstrip("0"))
    return Number(value, places=len(fraction) - exponent, significant=significant)


def _ratio(numerator: str, denominator: str, sign: str = "") -> Number | None:
    above, below = parse_number(numerator.strip()), parse_number(denominator.strip())
    if above is None or below is None or below.value == 0:
        return None
    value = above.value / below.value
    return Number(-value if sign == "-" else value)


@lru_cache(maxsize=8192)
def parse_number(text: str) -> Number | None:
    r"""Reads `text` as one number, or returns None if it is anything else (units, variables, `\pi`, an empty string).

    Understands signs, thousands commas, decimals with or without a leading zero, `e` and `\times 10^{}` notation,
    `a/b`, `\frac{a}{b}` and mixed numbers (`1 1/2`).

    Args:
        text: a normalised answer (see `erprm.grading.answers.normalize`), without surrounding blanks.
    """
    if len(text) > MAX_DIGITS + 100:
        return None
    if match := _DECIMAL.fullmatch(text):
        return _decimal(match)
    if match := _SLASH.fullmatch(text):
        return _ratio(match["numerator"].replace(" ", ""), match["denominator"])
    if match := _LATEX_FRACTION.fullmatch(text):
        return _ratio(match["numerator"], match["denominator"], match["sign"])
    if match := _MIXED.fullmatch(text):
        return _mixed(match)
    if match := _SCIENTIFIC.fullmatch(text):
        return _scientific(match)
    if match := _REPEATING.fullmatch(text):
        return _repeating(match)
    if match := _GOES_ON.fullmatch(text):
        return _going_on(match)
    return None


def _mixed(match: re.Match[str]) -> Number | None:
    if max(len(match["whole"]), len(match["numerator"]), len(match["denominator"])) > MAX_DIGITS:
        return None
    numerator, denominator = int(match["numerator"]), int(match["denominator"])
    if numerator >= denominator:  # 11 7/6 is no mixed number
        return None
    value = int(match["whole"]) + Fraction(numerator, denominator)
    return Number(-value if match["sign"] == "-" else value)


def _scientific(match: re.Match[str]) -> Number | None:
    mantissa = parse_number(match["mantissa"].replace(" ", ""))
    exponent = int(match["braced"] or match["bare"])
    if mantissa is None or abs(exponent) > MAX_EXPONENT:
        return None
    value = mantissa.value * Fraction(10) ** exponent
    if mantissa.places is None:
        return Number(value)
    return Number(value, mantissa.places - exponent, mantissa.significant)


def _repeating(match: re.Match[str]) -> Number | None:
    period = match["barred"] or match["bracketed"]
    if period is None:
        period = match["first"] + (match["between"] or "") + (match["last"] or "")
    return _with_period(match["sign"], match["whole"], match["fixed"], period)


def _with_period(sign: str, whole: str, fixed: str, period: str) -> Number | None:
    if len(whole) + len(fixed) + len(period) > MAX_DIGITS:
        return None
    tail = Fraction(int(period), 10 ** len(period) - 1) / 10 ** len(fixed)
    value = Fraction(int(whole + fixed or "0"), 10 ** len(fixed)) + tail
    return Number(-value if sign == "-" else value)


def _going_on(match: re.Match[str]) -> Number | None:
    """`0.1666...` repeats its last digits, if they are written twice at least; else the dots stand for lost digits."""
    digits = match["digits"]
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        if digits[-2 * length : -length] == period and period.strip("0"):
            return _with_period(match["sign"], match["whole"], digits[: len(digits) - 2 * length], period)
    return parse_number(f"{match['sign']}{match['whole']}.{digits}")


def round_half_away(value: Fraction, places: int) -> Fraction:
    """Rounds to `places` decimal places, a half away from zero, as taught at school (not to even)."""
    scale: Fraction = Fraction(10) ** places
    doubled = abs(value) * scale * 2 + 1
    magnitude = doubled.numerator // (2 * doubled.denominator)
    return (magnitude if value >= 0 else -magnitude) / scale


def terminates(value: Fraction) -> bool:
    """True if the decimal expansion ends: the denominator has no prime factors but 2 and 5."""
    odd = value.denominator // (value.denominator & -value.denominator)
    return bool(5 ** math.ceil((odd.bit_length() - 1) / math.log2(5)) == odd)


def numbers_equal(gold: Number, prediction: Number) -> bool:
    """Equal in value, or one is the other correctly rounded.

    Rounding is accepted in two cases only. (1) The gold is a decimal of at least 3 significant digits and the
    prediction an exact fraction that rounds to it (gold `33.3`, prediction `100/3`), or a decimal with more places
    that does, the gold then showing at least 4 digits (gold `16386.17`, prediction `16386.169`). (2) The gold does
    not terminate (`8/3`) and the prediction is a decimal of at least 4 significant digits that the gold rounds to
    (`2.6667`).
    """
    if gold.value == prediction.value:
        return True
    if gold.places is not None:
        needed = MIN_DIGITS_ROUNDED_GOLD
        if prediction.places is not None:
            if prediction.places <= gold.places:
                return False
            needed = MIN_DIGITS_ROUNDED_PREDICTION
        elif terminates(prediction.value):
            return False
        return is_rounded(gold, prediction.value, needed)
    if terminates(gold.value):
        return False
    return is_rounded(prediction, gold.value, MIN_DIGITS_ROUNDED_PREDICTION)


def is_rounded(decimal: Number, exact: Fraction, min_digits: int) -> bool:
    """True if `decimal` shows at least `min_digits` significant digits and is `exact` rounded to its places.

    A decimal of at least `MIN_DIGITS_CUT_OFF` digits may also be cut off instead of rounded (38.571428 for 270/7).
    """
    if decimal.places is None or decimal.significant < min_digits:
        return False
    if round_half_away(exact, decimal.places) == decimal.value:
        return True
    unit: Fraction = Fraction(10) ** -decimal.places
    cut_off = abs(exact) - abs(decimal.value)
    same_sign = (exact < 0) == (decimal.value < 0)
    return decimal.significant >= MIN_DIGITS_CUT_OFF and same_sign and 0 <= cut_off < unit
