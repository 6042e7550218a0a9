r"""The one number of a GSM8K answer, whole, in whatever form it is written: `18`, `3 1/2`, `\frac{7}{2}`, `5 million`.

A number that is only a part of a formula (the 2 of `\sqrt{2}`, the 10 of `10x`) is none.
"""

from __future__ import annotations

import re
from fractions import Fraction

from erprm.grading.answers.exact import NotExactError, exact_value
from erprm.grading.answers.formula import UnreadableError, read_formula
from erprm.grading.answers.normalize import MAX_ANSWER_CHARS, normalize
from erprm.grading.answers.numeric import THOUSANDS, parse_number
from erprm.grading.answers.words import (
    FRACTION_IN_WORDS,
    MONEY_AND_COINS,
    NUMBER_IN_WORDS,
    SCALES_AND_HUNDRED,
    fraction_in_words,
    number_in_words,
)

_DIGITS = rf"(?:(?:{THOUSANDS}(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_COUNT = re.compile(
    rf"(?<![a-zA-Z0-9_.^])(?P<sign>(?<![)\]])-)?(?:\\?[$€£]\s?)?(?P<inner>-)?(?:"
    r"(?P<whole>\d+)?(?:\s|\\[ ,;!])*\\[dtc]?frac\s*(?:\{\s*(?P<above>\d+)\s*\}|(?P<above_digit>\d))"
    r"\s*(?:\{\s*(?P<below>\d+)\s*\}|(?P<below_digit>\d))"
    r"|(?P<mixed>\d+(?:\s+|-|\s+and\s+)\d+\s?/\s?\d+)(?![\d/])"
    r"|(?P<half>\d+)\s+and\s+(?:a|one)(?:\s+|-)half(?![a-z])"
    rf"|(?P<digits>{_DIGITS})(?:\s?/\s?(?P<under>\d+)|[eE](?P<exponent>[+-]?\d{{1,3}})(?![\w])"
    r"|\s*(?:\\times|\\cdot|\*|x|×)\s*10\s*\^\s*\{?\s*(?P<ten>-?\d{1,3})\s*\}?|\s*\^\s*\{?\s*(?P<power>-?\d{1,3})\s*\}?"
    rf"|(?:\s|-|\\[ ,;])*(?:\\text\s*\{{\s*)?(?P<scale>{'|'.join(SCALES_AND_HUNDRED)})(?![a-z]))?)",
    re.IGNORECASE,
)
_IN_WORDS = re.compile(NUMBER_IN_WORDS, re.IGNORECASE)
_PART_IN_WORDS = re.compile(rf"(?<![a-zA-Z]){FRACTION_IN_WORDS}", re.IGNORECASE)
# Between two numbers that are a list or a range, such as `4 to 5` or `(3, 4)`.
_LISTS = re.compile(r"\s*(?:[,;&–-]|,?\s*\b(?:and|or|to)\b|\\text\s*\{\s*(?:and|or|to)\s*\})\s*")
# What makes the number before it a part of a formula, or of a time.
_GOES_ON = re.compile(
    r"\s*(?:\^|\\(?:sqrt|pi|cdot|times|frac|dfrac|log|ln|sin|cos|pm)(?![a-z])|!(?=\s*[-+*/=]|\s+[a-z])|[+*]\s*\S)|:\d|[a-z]\^|[xyznk](?![a-z])"
    r"|\s*/\s*[a-z](?![a-z])|\(",
    re.IGNORECASE,
)
_INSIDE_COMMAND = re.compile(
    r"(?:\\(?!(?:text|mathrm|mathbf|textbf|boldsymbol|boxed|fbox|mbox|bf|left|quad|approx|therefore)\b)[a-zA-Z]{2,}\s*"
    r"|\}|[a-zA-Z]\s?)(?:\[[^\[\]]*\]\s*)?\{\s*$|\\sqrt\s*$|sqrt\s*\($|\d:$"
    r"|(?<![a-zA-Z])(?:log|ln|lg|sin|cos|tan)(?:_\{?\w{1,3}\}?)?\s*\(?\s*$|[_^]\s*\{?\s*$|[)\w]\s*[*^]\s*$"
)


_RANGE = re.compile(r"\b(?:between|from)\s+\S+\s+(?:and|to)\s+$", re.IGNORECASE)


def count_in(segment: str, last: bool, stated: bool = False) -> str | None:
    """The first (or last) number of a text, plain (`1,450,000` becomes `1450000`); of an equation, its right side.

    Args:
        segment: a part of a solution.
        last: take the last number rather than the first.
        stated: the segment is an answer as such, so that it may be a formula (`10 + 8`) or be written in words.
    """
    if segment.isdecimal() and segment.isascii():  # most answers are
        return segment
    segment = segment.replace("{,}", ",").replace("\\!", "")
    _, equals, right = segment.rpartition("=")
    if equals and _COUNT.search(right):
        segment = right
    if stated and len(segment) <= MAX_ANSWER_CHARS and (value := _value_of(segment)) is not None:
        return value
    matches = list(_COUNT.finditer(segment))
    if not matches:
        return _worded(segment, last) if stated else None
    match = matches[-1] if last else matches[0]
    for money in MONEY_AND_COINS.finditer(segment) if re.search(r"cent|¢|pen", segment) else ():
        if money.start() <= match.start() < money.end():
            return str(int(money["signed"] or money["named"]) + Fraction(int(money["coins"]), 100))
    if stated and len(matches) > 1:
        one, other = matches[-2:] if last else matches[:2]
        if _LISTS.fullmatch(segment, one.end(), other.start()):
            return None
    if _RANGE.search(segment[: match.start()][-60:]):
        return None
    if _GOES_ON.match(segment, match.end()) or _INSIDE_COMMAND.search(segment[: match.start()][-60:]):
        return None
    return _plain(match)


def _value_of(segment: str) -> str | None:
    """The value of a segment that is one number or one formula of numbers."""
    text = re.sub(r"\\\$|\s+dollars$", "", normalize(segment)).strip()
    if "%" in text or ":" in text:
        return None
    written = parse_number(text)
    if written is not None:
        plain = re.fullmatch(r"-?[\d,]*\.?\d+(?:/\d+)?", text)
        return text.replace(",", "") if plain else str(written.value)
    if not re.search(r"\d\s*(?:[-+*^!]|\\cdot|\\times)", text) or "," in text:
        return None
    try:
        return str(exact_value(read_formula(text), 4096))
    except (UnreadableError, NotExactError, ValueError):
        return None


def _worded(segment: str, last: bool) -> str | None:
    found = _in_words(segment)
    return found[-1 if last else 0] if found else None


def _in_words(text: str) -> list[str | None]:
    """The numbers and fractions in words of a text; None for words that make no number."""
    parts = [(match, fraction_in_words(match)) for match in _PART_IN_WORDS.finditer(text)]
    parts = [(match, value) for match, value in parts if value is not None]
    found: list[tuple[int, Fraction | int | None]] = [(match.start(), value) for match, value in parts]
    found += [
        (match.start(), number_in_words(match[0]))
        for match in _IN_WORDS.finditer(text)
        if not any(part.start() < match.end() and match.start() < part.end() for part, _ in parts)
    ]
    return [None if value is None else str(value) for _, value in sorted(found, key=lambda pair: pair[0])]


def last_worded(sentence: str) -> str | None:
    """The last number in words of a sentence without figures; `one` and `half` are too often no answer."""
    found = _in_words(re.sub(r"\b(?:one|(?<!an )(?<!a )half)\b(?!\s+an?\s)", " ", sentence, flags=re.IGNORECASE))
    return found[-1] if found else None


def leading_count(sentence: str) -> str | None:
    """The number, in figures or words, with which a sentence begins."""
    words = _IN_WORDS.match(sentence)
    if words:
        value = number_in_words(words[0])
        return None if value is None else str(value)
    match = _COUNT.match(sentence)
    return _plain(match) if match and not _GOES_ON.match(sentence, match.end()) else None


def _plain(match: re.Match[str]) -> str | None:
    sign = "-" if match["sign"] or match["inner"] else ""
    digits = (match["digits"] or "").replace(",", "")
    if digits and not any(match[name] for name in ("under", "exponent", "ten", "power", "scale")):
        return sign + digits
    if match["under"]:
        return f"{sign}{digits}/{match['under']}"
    value = _value(match, digits)
    return None if value is None else str(-value if sign else value)


def _value(match: re.Match[str], digits: str) -> Fraction | None:
    if match["half"]:
        return Fraction(int(match["half"])) + Fraction(1, 2)
    if match["mixed"]:
        whole, above, below = (int(part) for part in re.findall(r"\d+", match["mixed"]))
        return whole + Fraction(above, below) if 0 < above < below else None
    if not digits:
        above, below = int(match["above"] or match["above_digit"]), int(match["below"] or match["below_digit"])
        return int(match["whole"] or 0) + Fraction(above, below) if below else None
    value = Fraction(digits)
    if match["power"]:
        if abs(value) > 10**6 or (value == 0 and int(match["power"]) < 0):
            return None
        power: Fraction = value ** int(match["power"])
        return power
    if match["scale"]:
        return value * Fraction(10 ** SCALES_AND_HUNDRED[match["scale"].lower()])
    scientific: Fraction = value * Fraction(10) ** int(match["exponent"] or match["ten"])
    return scientific
