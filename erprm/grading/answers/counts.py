r"""The one number of a GSM8K answer, whole, in whatever form it is written: `18`, `3 1/2`, `\frac{7}{2}`, `5 million`.

A number that is only a part of a formula (the 2 of `\sqrt{2}`, the 10 of `10x`) is none.
"""

from __future__ import annotations

import re
from fractions import Fraction

from erprm.grading.answers.exact import NotExactError, exact_value
from erprm.grading.answers.formula import UnreadableError, read_formula
from erprm.grading.answers.normalize import MAX_ANSWER_CHARS, normalize
from erprm.grading.answers.numeric import parse_number
from erprm.grading.answers.quantity import parse_unit
from erprm.grading.answers.wholeness import stands_alone
from erprm.grading.answers.words import (
    CJK_SCALES,
    FRACTION_IN_WORDS,
    MONEY_AND_COINS,
    NUMBER_IN_WORDS,
    SCALES_AND_HUNDRED,
    fraction_in_words,
    number_in_words,
)

# Thousands, also those of India (`1,25,000`) and of the continent (`1 250`, `1'250`, `1.250.000`, `1.250,50`).
_GROUPED = (
    r"\d{1,3}(?:(?:,\d{2,3})*,\d{3}|(?: \d{3})+|(?:['_]\d{3})+|(?:\.\d{3}){2,}|(?:\.\d{3})+(?=,\d{1,2}(?!\d)))"
    r"(?!\d|-[a-z])"
)
_DIGITS = rf"(?:(?:{_GROUPED}|\d+)(?:[.,]\d+(?![.,]?\d))?|\.\d+)"
# Powers of ten behind the figures: words, letters that are no unit, and characters.
_GROUPED_DIGITS = re.compile(rf"(?P<groups>{_GROUPED})(?P<decimals>[.,]\d+)?")
_LETTERS = {"k": 3, "K": 3, "M": 6, "mn": 6, "B": 9, "bn": 9}
_POWERS_OF_TEN = {**SCALES_AND_HUNDRED, "lakh": 5, "crore": 7, **_LETTERS, **CJK_SCALES}
_SCALE_WORD = rf"(?:hundred (?:thousand|million|billion)|{'|'.join(SCALES_AND_HUNDRED)}|lakh|crore)s?(?![a-z])"
_COUNT = re.compile(
    rf"(?<![a-zA-Z0-9_.^])(?P<sign>(?<![)\]])-|(?:minus|negative)\s+)?(?:\\?(?P<money>[$€£])\s?)?(?P<inner>-)?(?:"
    r"(?P<whole>\d+)?\s*\\[dtc]?frac\s*(?:\{\s*(?P<above>\d+)\s*\}|(?P<above_digit>\d))"
    r"\s*(?:\{\s*(?P<below>\d+)\s*\}|(?P<below_digit>\d))"
    r"|(?P<mixed>\d+(?:\s+|-|\s+and\s+)\d+\s?/\s?\d+)(?![\d/])"
    rf"|(?P<half>\d+)(?:\s+|-)and(?:\s+|-)(?:a|one)(?:\s+|-)half(?![a-z])(?!\s+{_SCALE_WORD})"
    rf"|(?P<digits>{_DIGITS})(?:\s?/\s?(?P<under>\d+)(?!\s?/)|[eE](?P<exponent>[+-]?\d{{1,3}})(?![\w])"
    r"|\s*(?:\\times|\\cdot|\*|x|×)\s*10\s*\^\s*\{?\s*(?P<ten>-?\d{1,3})\s*\}?|\s*\^\s*\{?\s*(?P<power>-?\d{1,3})\s*\}?"
    rf"|[\s-]*(?P<scale>{_SCALE_WORD})|(?P<letter>(?-i:{'|'.join(_LETTERS)}))(?![a-zA-Z\d])"
    rf"|\s?(?P<character>[{''.join(CJK_SCALES)}])(?![克米]))?)",
    re.IGNORECASE,
)
_BEHIND_DIGITS = ("under", "exponent", "ten", "power", "scale", "letter", "character")
_IN_WORDS = re.compile(NUMBER_IN_WORDS, re.IGNORECASE)
_PART_IN_WORDS = re.compile(rf"(?<![a-zA-Z]){FRACTION_IN_WORDS}", re.IGNORECASE)
# GSM8K's own notation, as in `2*3=<<2*3=6>>6`.
CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[ ,;:]|~")
# Between two numbers that are a list or a range, such as `4 to 5` or `(3, 4)`.
_LISTS = re.compile(r"\s*(?:[,;&–-]|,?\s*\b(?:and|or|to)\b)\s*")
_RESTATED = re.compile(r"\s*([a-zA-Z]+),?\s+(?:or|\(|i\.e\.,?)\s*")
_UNIT_NAME = re.compile(r"\s*([a-zA-Z]+)")
_RANGE = re.compile(r"\b(?:between|from)\s+\S+\s+(?:and|to)\s+$", re.IGNORECASE)
# Two amounts of which neither is the whole: `5 feet 3 inches`, `3 apples and 4 pears`, `5'3"`, `4h30`.
_NUMBER = rf"(?:{_DIGITS}|{NUMBER_IN_WORDS})"
_AMOUNTS = re.compile(
    rf"(?<![\w.,]){_NUMBER}\s*-?(?P<large>[a-zA-Z]+|')\.?(?P<join>\s*,\s*(?:and\s+)?|\s+and\s+|\s*&\s*|\s*)"
    rf"{_NUMBER}\s*-?(?P<small>[a-zA-Z]+|\")?",
    re.IGNORECASE,
)
# Arithmetic round a number, which is then judged as one formula, and what makes that a part of a larger one.
_TIMES = r"(?<=\d)x(?=\d)|(?<=\s)x(?=\s+\d)"
_ARITHMETIC = re.compile(
    r"(?:\\(?:times|cdot|div|[dt]?frac|sqrt|binom|left|right|lfloor|rfloor|lceil|rceil)(?![a-z])|(?<![a-z])sqrt(?![a-z])"
    rf"|(?:\\?\$)?\d[\d,]*(?:\.\d+)?%?|[\s.+*/^()\[\]{{}}!|×÷√-]|{_TIMES})+"
)
_WORKED_OUT = re.compile(r"(?P<value>-?\d+)\s+\((?P<work>[^()]+)\)")  # 10 (25 - 15)
_BRACKETS = re.compile(r"[\s.()\[\]{}]")
_OPERATOR_FIRST = re.compile(r"\s*[-+*/^×÷]")
_LETTER_BEFORE = re.compile(r"(?:(?:^|[\s(])[a-zA-Z]|[\d\\_{])\s*$")
_LETTER_AFTER = re.compile(r"[a-zA-Z]\b|[\\_:]")


def count_in(segment: str, last: bool, stated: bool = False) -> str | None:
    """The first (or last) number of a text, plain (`1,450,000` becomes `1450000`); of an equation, its right side.

    Args:
        segment: a part of a solution.
        last: take the last number rather than the first.
        stated: the segment is an answer as such, so that it may be a formula (`10 + 8`) or be written in words.
    """
    if segment.isdecimal() and segment.isascii():  # most answers are
        return segment
    if "<<" in segment:
        segment = CALCULATOR.sub("", segment)
    if "\\" in segment:
        segment = segment.replace("{,}", ",").replace("\\!", "")
        segment = _SPACING.sub(" ", _TEXT.sub(r"\1", segment))
    left, equals, right = segment.replace("=>", " ").rpartition("=")
    if equals and _COUNT.search(right):
        if not _agrees(left.rpartition("=")[2], right, stated):
            return None
        segment = right
    if stated and len(segment) <= MAX_ANSWER_CHARS and (value := _value_of(segment)) is not None:
        return value
    matches = list(_COUNT.finditer(segment))
    if not matches:
        return _worded(segment, last) if stated and len(segment) <= MAX_ANSWER_CHARS else None
    match = matches[-1] if last else matches[0]
    for money in MONEY_AND_COINS.finditer(segment) if re.search(r"cent|¢|pen", segment) else ():
        if money.start() <= match.start() < money.end():
            return str(int(money["signed"] or money["named"]) + Fraction(int(money["coins"]), 100))
    if last and len(matches) > 1 and _same_amount(segment, matches[-2], match):
        match = matches[-2]
    if stated and len(matches) > 1:
        one, other = matches[-2:] if last else matches[:2]
        if _LISTS.fullmatch(segment, one.end(), other.start()):
            return None
    if _RANGE.search(segment[: match.start()][-60:]) or _is_half_an_amount(segment, match.start(), stated):
        return None
    if not stands_alone(segment, match.start(), match.end()):
        return _arithmetic_round(segment, match.start(), match.end())
    return _plain(match)


def _same_amount(segment: str, one: re.Match[str], other: re.Match[str]) -> bool:
    """True for an amount and the same in another unit, as in `60 minutes or 1 hour`."""
    restated, name = _RESTATED.fullmatch(segment, one.end(), other.start()), _UNIT_NAME.match(segment, other.end())
    if restated is None or name is None:
        return False
    unit, other_unit = parse_unit(restated[1]), parse_unit(name[1])
    value, other_value = _plain(one), _plain(other)
    if not unit or not other_unit or unit.dimension != other_unit.dimension or not value or not other_value:
        return False
    return Fraction(value) * unit.factor == Fraction(other_value) * other_unit.factor


def _agrees(left: str, right: str, stated: bool) -> bool:
    """False for an equation whose right side is no result (`12 = 3*5`), and for two of them (`x = 3, y = 5`)."""
    if stated and re.search(r"\d\s*(?:[,;&]|and\b)[^\d,;=]*$", left):
        return False
    if not re.search(r"\d\s*(?:[-+*/^x×÷]|\\(?:times|cdot|div))\s*\d", right):
        return True
    one, other = _value_of(left.strip()), _value_of(right.strip())
    return one is None or other is None or Fraction(one) == Fraction(other)


def _is_half_an_amount(segment: str, at: int, stated: bool) -> bool:
    """True for one of two numbers that only together are an amount, such as the 5 of `5 feet 3 inches`."""
    for amounts in _AMOUNTS.finditer(segment):
        if not amounts.start() <= at < amounts.end():
            continue
        if amounts["large"] == "'" or not amounts["join"]:
            return True
        large, small = parse_unit(amounts["large"]), parse_unit(amounts["small"] or "")
        if large and small and large != small and large.dimension == small.dimension:
            return True
        if (amounts["large"], amounts["small"]) == ("h", "m"):
            return True
        if stated and amounts["join"].strip() and amounts["large"] not in ("and", "or", "to"):
            return True
    return False


def _arithmetic_round(segment: str, start: int, end: int) -> str | None:
    """The value of the arithmetic that a number is a part of; None for a part of anything else."""
    for run in _ARITHMETIC.finditer(segment):
        if not run.start() <= start < end <= run.end():
            continue
        alone = _BRACKETS.sub("", run[0]) == _BRACKETS.sub(
            "", segment[start:end]
        )  # then something else makes it a part
        in_larger = _LETTER_BEFORE.search(segment[: run.start()]) or _LETTER_AFTER.match(segment, run.end())
        if alone or in_larger or _OPERATOR_FIRST.match(run[0]):
            return None
        return _value_of(re.sub(_TIMES, "*", run[0].strip().rstrip(" .")))
    return None


def _value_of(segment: str) -> str | None:
    """The value of a segment that is one number or one formula of numbers."""
    text = re.sub(r"\\\$|\s+dollars$", "", normalize(segment)).strip()
    if "%" in text or ":" in text:
        return None
    written = parse_number(text)
    if written is not None:
        plain = re.fullmatch(r"-?[\d,]*\.?\d+(?:/\d+)?", text)
        return text.replace(",", "") if plain else str(written.value)
    if (remark := _WORKED_OUT.fullmatch(text)) and (value := _value_of(remark["work"])) == remark["value"]:
        return value
    if not re.search(r"\d\s*(?:[-+*^!(]|\\cdot|\\times)|\\(?:sqrt|binom|l?floor|l?ceil)|\|", text) or "," in text:
        return None
    try:
        return str(exact_value(read_formula(text), 4096))
    except (UnreadableError, NotExactError, ValueError):
        return None


def _worded(segment: str, last: bool) -> str | None:
    found = _in_words(segment)
    if not found or _is_half_an_amount(segment, found[-1 if last else 0][0], True):
        return None
    return found[-1 if last else 0][1]


def _in_words(text: str) -> list[tuple[int, str | None]]:
    """The numbers and fractions in words of a text, with their places; None for words that make no number."""
    parts = [(match, fraction_in_words(match)) for match in _PART_IN_WORDS.finditer(text)]
    parts = [(match, value) for match, value in parts if value is not None]
    found: list[tuple[int, Fraction | int | None]] = [(match.start(), value) for match, value in parts]
    found += [
        (match.start(), number_in_words(match[0]))
        for match in _IN_WORDS.finditer(text)
        if not any(part.start() < match.end() and match.start() < part.end() for part, _ in parts)
    ]
    return [(at, None if value is None else str(value)) for at, value in sorted(found, key=lambda pair: pair[0])]


def last_worded(sentence: str) -> str | None:
    """The last number in words of a sentence without figures; `one` and `half` are too often no answer."""
    return _worded(
        re.sub(r"\b(?:one|(?<!an )(?<!a )half)\b(?!\s+an?\s)", " ", sentence, flags=re.IGNORECASE), last=True
    )


def leading_count(sentence: str) -> str | None:
    """The number, in figures or words, with which a sentence begins."""
    words = _IN_WORDS.match(sentence)
    if words:
        value = number_in_words(words[0])
        return None if value is None else str(value)
    match = _COUNT.match(sentence)
    return _plain(match) if match and stands_alone(sentence, *match.span()) else None


def _plain(match: re.Match[str]) -> str | None:
    sign = "-" if match["sign"] or match["inner"] else ""
    digits = _without_groups(match["digits"] or "")
    if digits and not any(match[name] for name in _BEHIND_DIGITS):
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
    if scale := match["letter"] or match["character"] or (match["scale"] or "").lower().removesuffix("s"):
        return value * Fraction(10 ** sum(_POWERS_OF_TEN[part] for part in scale.split()))
    scientific: Fraction = value * Fraction(10) ** int(match["exponent"] or match["ten"])
    return scientific


def _without_groups(digits: str) -> str:
    """`1,450,000.5`, `1 450 000,5`, `1'450'000.5` and `1.450.000,5` as `1450000.5`."""
    if digits.isdecimal():
        return digits
    grouped = _GROUPED_DIGITS.fullmatch(digits)
    if grouped is None:
        return digits.replace(",", ".")
    return re.sub(r"\D", "", grouped["groups"]) + (grouped["decimals"] or "").replace(",", ".")
