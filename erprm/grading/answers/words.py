"""Numbers and quantities written in words: `seven`, `5 million`, `1 hour and 20 minutes`, `2 to 3`, `5厘米`."""

from __future__ import annotations

import re
from fractions import Fraction

from erprm.grading.answers.numeric import parse_number
from erprm.grading.answers.quantity import parse_unit

SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
SCALES_AND_HUNDRED = {"hundred": 2, **SCALES}
CJK_SCALES = {"百": 2, "千": 3, "万": 4, "萬": 4, "만": 4, "亿": 8, "億": 8, "억": 8}
_CJK_SCALE = re.compile(rf"(?<![\w.,])(\d+(?:,\d{{3}})*(?:\.\d+)?)\s*([{''.join(CJK_SCALES)}])(?![克米\d])")
_SCALE = re.compile(
    rf"(?<![\w.,])(?P<number>\d+(?:,\d{{3}})*(?:\.\d+)?)\s*(?:\\text\s*\{{\s*)?"
    rf"(?P<scale>{'|'.join(SCALES_AND_HUNDRED)})(?![a-zA-Z])\s*(?P<rest>[a-zA-Z ]*)\}}?"
)
_BELOW_TWENTY = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: value for value, word in enumerate(_BELOW_TWENTY.split())}
_VALUES |= {word: 10 * value for value, word in enumerate(_TENS.split(), 2)}
_NUMBER_WORD = f"(?:{'|'.join(sorted((*_VALUES, 'hundred', *SCALES), key=len, reverse=True))})"
NUMBER_IN_WORDS = (
    r"(?<![a-zA-Z])(?:(?:minus|negative)\s+)?(?:half\s+)?(?:an?\s+(?=hundred|thousand|million|billion))?"
    rf"{_NUMBER_WORD}(?:[\s-]+(?:and[\s-]+)?{_NUMBER_WORD})*(?![a-zA-Z])"
)
# Parts of a whole. A second is a time, and an ordinal without a number before it a place.
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8}
_PARTS |= {"ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20, "hundredth": 100, "thousandth": 1000}
FRACTION_IN_WORDS = (
    rf"(?P<sign>(?:minus|negative)\s+)?(?:(?P<full>\d+|{_NUMBER_WORD}(?:[\s-]+{_NUMBER_WORD})*)[\s,]+and[\s]+)?"
    rf"(?:(?P<few>an?|{_NUMBER_WORD})[\s-]+(?:of\s+an?\s+)?)?(?P<part>{'|'.join(_PARTS)}|halve)s?(?![a-zA-Z])"
    rf"(?!\s+an?\s+(?:{'|'.join(SCALES_AND_HUNDRED)}))"
)
_FRACTION_IN_WORDS = re.compile(rf"(?:\\text\s*\{{\s*)?{FRACTION_IN_WORDS}\s*\}}?", re.IGNORECASE)
_IN_WORDS = re.compile(
    rf"(?:\\text\s*\{{\s*)?(?P<number>{NUMBER_IN_WORDS})(?P<rest>\s+[a-zA-Z ]+)?\s*\}}?", re.IGNORECASE
)
_AMOUNT = r"(\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\})\s*(?:\\text\s*\{\s*)?([a-zA-Z]+)\s*\}?"
_COMPOUND = re.compile(rf"{_AMOUNT}(?:\s*,\s*|\s*(?:\\text\s*\{{\s*)?\band\b\s*\}}?\s*|\s+){_AMOUNT}")
# Pounds with pence are money; the other kind is in the table of units.
MONEY_AND_COINS = re.compile(
    r"(?:\\?\$\s*(?P<signed>\d+)|(?P<named>\d+)\s*(?:\\text\s*\{)?\s*(?:dollars?|euros?|pounds?))\s*\}?\s*(?:\\text\s*\{)?"
    r"\s*,?\s*(?:and)?\s*\}?\s*(?P<coins>\d+)\s*(?:\\text\s*\{)?\s*(?:cents?|¢|pence|pennies)\s*\}?"
)
_ARC = re.compile(
    r"(\d+)\s*\^\\circ\s*(\d+)\s*(?:'|\^\s*\{?\s*\\prime\s*\}?)(?:\s*(\d+)\s*(?:''|\"|\^\s*\{?\s*\\prime\s*\\prime\s*\}?))?"
)
_ABBREVIATION = re.compile(r"\b(sq|cu|ft|in|yd|mi|lbs?|oz|hrs?|mins?|secs?)\.(?=\s|\}|$)")
_REMARK = re.compile(r"(-?\d[\d.,]*)\s+\((?!base\b|mod\b)[a-zA-Z]{3,}[a-zA-Z\s-]*\)")
_AMOUNT_IN_WORDS = re.compile(NUMBER_IN_WORDS, re.IGNORECASE)
_TO = re.compile(r"(\d+)\s+to\s+(\d+)")

_CHINESE = {
    "平方": " square ",
    "立方": " cubic ",
    "厘米": " cm ",
    "毫米": " mm ",
    "千米": " km ",
    "公里": " km ",
    "米": " m ",
    "千克": " kg ",
    "公斤": " kg ",
    "克": " g ",
    "小时": " hours ",
    "分钟": " minutes ",
    "秒": " seconds ",
    "天": " days ",
    "升": " liters ",
    "度": " degrees ",
    "元": " yuan ",
}
_CHINESE_UNIT = re.compile("|".join(_CHINESE))
_CHINESE_AFTER_NUMBER = re.compile(r"(?<=[\d})])\s*([\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+)\s*$")


def in_figures(text: str) -> str:
    r"""Writes out scales (`5 million` as `5\times 10^{6}`), sums of units and ratios in words.

    Args:
        text: an answer whose LaTeX is normalised, lists still with their `and`.
    """
    text = _CJK_SCALE.sub(lambda match: f"{match[1].replace(',', '')} \\times 10^{{{CJK_SCALES[match[2]]}}}", text)
    text = _ABBREVIATION.sub(r"\1", _CHINESE_AFTER_NUMBER.sub(_chinese_unit, text))
    if match := _REMARK.fullmatch(text):  # 7 (seven)
        return match[1]
    if (match := _FRACTION_IN_WORDS.fullmatch(text)) and (part := fraction_in_words(match)) is not None:
        return f"\\frac{{{part.numerator}}}{{{part.denominator}}}"
    if match := _IN_WORDS.fullmatch(text):
        value = number_in_words(match["number"])
        if value is None:
            return text
        text = f"{value}{_AMOUNT_IN_WORDS.sub(_amount, match['rest'] or '')}"
    if match := _TO.fullmatch(text):
        return f"{match[1]}:{match[2]}"
    text = _ARC.sub(_degrees, text)
    text = _SCALE.sub(_scaled, text)
    if match := MONEY_AND_COINS.fullmatch(text):
        text = f"{match['signed'] or match['named']} dollars and {match['coins']} cents"
    if match := _COMPOUND.fullmatch(text):
        return _sum_of_units(match)
    return text


def number_in_words(text: str) -> int | None:
    """The value of a whole number in words, such as `two hundred and five`; None if the words make no number."""
    words = re.findall(r"[a-z]+", text.lower())
    sign = -1 if words[:1] in (["minus"], ["negative"]) else 1
    if "half" in words:  # half a million
        whole = number_in_words(" ".join(word for word in words if word != "half"))
        return None if whole is None or whole % 2 else whole // 2
    total = group = 0
    last = 10**15  # every part of a group must be smaller than the one before
    for word in words[sign < 0 :]:
        if word in _VALUES:
            if _VALUES[word] >= last or (last == 10 and _VALUES[word] == 0):
                return None
            group += _VALUES[word]
            last = 10 if _VALUES[word] >= 20 else 0
        elif word == "hundred":
            if group > 99:
                return None
            group, last = (group or 1) * 100, 100
        elif word in SCALES:
            total, group, last = total + (group or 1) * 10 ** SCALES[word], 0, 1000
        elif word not in ("and", "a"):
            return None
    return sign * (total + group)


def fraction_in_words(match: re.Match[str]) -> Fraction | None:
    """The value of `two thirds`, `half` or `two and a half`; None for a place such as `third`."""
    few = (match["few"] or "").lower()
    part = "half" if match["part"].lower() == "halve" else match["part"].lower()
    if not few and part != "half":
        return None
    above = 1 if few in ("", "a", "an") else number_in_words(few)
    full = match["full"] or "0"
    whole = int(full) if full.isdigit() else number_in_words(full)
    if above is None or whole is None or above == 0:
        return None
    value = whole + Fraction(above, _PARTS[part])
    return -value if match["sign"] else value


def _amount(match: re.Match[str]) -> str:
    """A further amount in figures: the fifty of `two dollars and fifty cents`."""
    value = number_in_words(match[0])
    return match[0] if value is None else str(value)


def _chinese_unit(match: re.Match[str]) -> str:
    """A known unit in English; anything else after a number says what was counted."""
    translated = _CHINESE_UNIT.sub(lambda unit: _CHINESE[unit[0]], match[1])
    return "" if re.search(r"[^\x00-\x7f]", translated) else f" {translated.strip()}"


def _scaled(match: re.Match[str]) -> str:
    number = match["number"].replace(",", "")
    return f"{number} \\times 10^{{{SCALES_AND_HUNDRED[match['scale']]}}} {match['rest']}".strip()


def _degrees(match: re.Match[str]) -> str:
    value = Fraction(int(match[1])) + Fraction(int(match[2]), 60) + Fraction(int(match[3] or 0), 3600)
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}^\\circ"


def _sum_of_units(match: re.Match[str]) -> str:
    """`3 hours 30 minutes` in minutes, if the second unit is a smaller one of the same dimension."""
    large, small = parse_unit(match[2]), parse_unit(match[4])
    one, other = parse_number(match[1]), parse_number(match[3])
    if not large or not small or not one or not other:
        return match[0]
    if small.dimension != large.dimension or small.factor >= large.factor:
        return match[0]
    if large.dimension == (("money", 1),):  # 12 dollars and 50 cents is 12.50, never 1250
        total = one.value + other.value * small.factor / large.factor
        return f"\\frac{{{total.numerator}}}{{{total.denominator}}} {match[2]}"
    total = one.value * large.factor / small.factor + other.value
    return f"\\frac{{{total.numerator}}}{{{total.denominator}}} {match[4]}"
