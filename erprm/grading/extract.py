r"""Finds the final answer in a solution.

What counts as the answer, from the surest mark to the weakest:

1. the last `<answer>...</answer>`;
2. the later of the last `\boxed{...}` and the last GSM8K line `#### ...`;
3. the last phrase such as `The answer is: ...`, `Final answer: ...` or a line `A: ...`;
4. the whole text, if it is short enough to be a bare answer;
5. the last piece of mathematics, or the last number after it.

Every pattern here takes time linear in the text: a megabyte of blanks or 50,000 open braces is no special case.
"""

from __future__ import annotations

import re
from typing import Literal

from erprm.grading.answers.characters import clean_characters
from erprm.grading.answers.normalize import normalize
from erprm.grading.answers.numeric import THOUSANDS, parse_number
from erprm.grading.answers.units import parse_unit

Kind = Literal["auto", "gsm8k", "math"]
KINDS: tuple[Kind, ...] = ("auto", "gsm8k", "math")

# A bare answer is one line of at most this many characters and this many words of prose.
MAX_BARE_CHARS = 300
MAX_BARE_WORDS = 4

# Only the last boxes and phrases are looked at, so that thousands of them cost no more than a few.
MAX_MARKS = 20
# A unit behind a number is at most so long.
MAX_UNIT_CHARS = 60
# Without any mark, the answer is looked for in this much of the end of the text.
TAIL_CHARS = 4000

# Not the form feed: a leading one is the remnant of \\f in \\frac.
_BLANKS = " \t\r\n"
_SPECIAL_TOKEN = re.compile(r"<\|[a-z_]{1,30}\|>[a-z]*|</?s>|<eos>|<pad>")
_BOX = re.compile(r"\\(?:f|frame)?box(?:ed)?(?![a-zA-Z])[ \t]*|(?<![\\a-zA-Z])boxed(?=\{)")
_BOX_JOIN = re.compile(
    r"(?:[\s$,;.&]|\\[()\[\],;! ]|\\q?quad|\\text\s*\{[\s,]*(?:and|or)[\s,]*\}|\b(?:and|or)\b"
    r"|[a-zA-Z]\w{0,3}(?:_\{?\w{1,3}\}?)?\s*=)*"
)
_PHRASE = re.compile(
    r"\bfinal answer(?: is)?\s*:?\s*"
    r"|\b(?:correct|right) (?:option|choice) is\s*:?\s*"
    r"|答案\s*(?:是|为|:|：)\s*:?\s*"
    r"|\banswer(?: to (?:the|this) (?:question|problem))? is\s*:?\s*"
    r"|\banswer\s*:\s*"
    r"|\bthe answer\b[^.:=\n]{1,60}?\bis\b\s*:?\s*"
    r"|^(?P<short>[ \t]*A:[ \t]*)",
    re.IGNORECASE | re.MULTILINE,
)
_FINAL_ANSWER = re.compile(r"\bfinal answer is\s*:?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s+[A-Z]|\s*$)|\n|。|(?<=\s)I hope\b")
# What explains the answer in the same sentence: "42, which is even", "$x=2$ since $2x=4$".
_EXPLANATION = re.compile(
    r"(?<=[\w$)}\]%*])(?:\s*,\s*|\s+)(?:which|since|because|and not|rather than|instead of)\b", re.IGNORECASE
)
_MATH = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$"
    r"|(?<!\\)\$(?P<inline>(?:\\.|[^$\\\n])+)\$"
    r"|\\\((?P<parenthesis>(?:[^\\]|\\(?![()]))+)\\\)"
    r"|\\\[(?P<bracket>(?:[^\\]|\\(?![\[\]]))+)\\\]"
)
_LEADING_FORMULA = re.compile(r"\$\$[^$]+\$\$|\$[^$]+\$|\\\((?:[^\\]|\\(?![()]))+\\\)|\\\[(?:[^\\]|\\(?![\[\]]))+\\\]")
_MATH_JOIN = re.compile(r"[\s,]*(?:,|;|\band\b|\bor\b)[\s,]*")
_UNIT_AFTER_MATH = re.compile(r"\s*(?:\\?%|percent\b|pct\b|[a-zA-Z]+\s*$)|-[a-zA-Z]+", re.IGNORECASE)
_WORDS_AFTER_NUMBER = re.compile(r"(?:\s*(?:/|[a-zA-Z]+(?:\^?\{?[23²³]\}?)?)){1,4}")
_NUMBER_BODY = rf"(?:{THOUSANDS}(?!\d)|\d+)(?:[.,]\d+)?|\.\d+"
_PLAIN_NUMBER = re.compile(
    rf"(?<![\w.^])(?:(?<![)\]])-)?(?:\\?\$)?-?(?:{_NUMBER_BODY})(?:\s?/\s?\d+|(?::\d+)+|\^\{{?-?\d+\}}?)?(?:\s*(?:\\?%|percent\b|pct\b))?",
    re.IGNORECASE,
)
_GSM8K_NUMBER = re.compile(
    rf"(?<![\w.^])(?P<sign>(?<![)\]])-)?(?:\\?[$€£]\s?)?(?P<inner>-)?(?P<digits>(?:{THOUSANDS}(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<fraction>\s?/\s?\d+)?"
)
_PROSE = re.compile(r"\\[a-zA-Z]+|[A-Za-z]{2,}")
# "it is 5" is a sentence; "sin 30", "area = 5", "abc + 3" and "5 miles" are not.
_SENTENCE_BEFORE_NUMBER = re.compile(
    r"(?!(?:sin|cos|tan|log|base|option|choice|all real)\b)[^\d=+*/^_\\<>(){}]*"
    r"\b(?:[A-Za-z]{3,}|[Ii]t|[Ii]s|[Ww]e|[Ss]o)[^\d=+*/^_\\<>(){}A-Za-z][^\d=+*/^_\\<>(){}]*\d"
)
_HASHED_NUMBER = re.compile(r"(?!\d+[.)]\s)[\s$€£\\({*+-]*(?:\d|\.\d|boxed|d?frac|sqrt|pi\b)")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")


def check_kind(kind: str) -> None:
    """Raises ValueError unless `kind` is one of `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(map(repr, KINDS))}")


def extract_answer(text: str, kind: Kind = "auto") -> str | None:
    r"""Returns the final answer of a solution as text, or None if there is none.

    Args:
        text: a whole solution or a bare answer.
        kind: `"gsm8k"` looks for one number and returns it plain (`"1,450,000"` becomes `"1450000"`, as the official
            GSM8K script does); `"math"` returns the answer as it was written (the content of `\boxed{}`); `"auto"`
            reads a text with a `####` line as GSM8K and everything else as `"math"`.

    Raises:
        ValueError: unknown `kind`.
    """
    check_kind(kind)
    _, thought, visible = text.rpartition("</think>")
    if thought and visible.strip():
        text = visible
    if kind == "gsm8k" or (kind == "auto" and "####" in text):
        return _gsm8k_answer(text)
    return _math_answer(text)


def _gsm8k_answer(text: str) -> str | None:
    text = clean_characters(text)
    marked = _marked_answer(text)
    if marked is not None:
        return _number_in(marked, last=False)
    for segment in _phrased_answers(text):
        number = _number_in(segment, last=not _is_bare(segment))
        if number is not None:
            return number
    return _number_in(_CALCULATOR.sub("", text[-TAIL_CHARS:]), last=True)


def _number_in(segment: str, last: bool) -> str | None:
    """The first (or last) number of `segment`, plain; of an equation `10 + 8 = 18`, what stands after the last `=`."""
    segment = segment.replace("{,}", ",").replace("\\!", "")
    _, equals, right = segment.rpartition("=")
    if equals and _GSM8K_NUMBER.search(right):
        segment = right
    matches = list(_GSM8K_NUMBER.finditer(segment))
    if not matches:
        return None
    match = matches[-1] if last else matches[0]
    sign = "-" if match["sign"] or match["inner"] else ""
    return sign + match["digits"].replace(",", "") + (match["fraction"] or "").replace(" ", "")


def _math_answer(text: str) -> str | None:
    text = _SPECIAL_TOKEN.sub("", text).rstrip()
    text = text.removesuffix("ки").strip(_BLANKS)
    if not text:
        return None
    marked = _marked_answer(text)
    if marked is not None:
        return marked
    for segment in _phrased_answers(text):
        answer = segment if _is_bare(segment) else _last_mathematics(segment)
        if answer:
            return answer
    if _is_bare(text):
        return text
    found = _last_mathematics(text[-TAIL_CHARS:])
    return text if found is None and len(text) <= MAX_BARE_CHARS else found


def _marked_answer(text: str) -> str | None:
    r"""What the last `<answer>` tag holds, or else the last of `\boxed{}`, `####` and a later `final answer is`."""
    tagged = _tagged_answer(text)
    if tagged is not None:
        phrased = _phrased_answers(tagged)
        return _boxed_answer(tagged)[1] or _after_hashes(tagged)[1] or (phrased[0] if phrased else tagged)
    box_at, boxed = _boxed_answer(text)
    hashes_at, hashed = _after_hashes(text)
    marked, at = (boxed, box_at) if box_at > hashes_at else (hashed, hashes_at)
    if marked is not None:
        for match in list(_FINAL_ANSWER.finditer(text, at))[-MAX_MARKS:]:
            segment = _sentence_from(text, match.end())
            if segment and "\\box" not in segment and _is_bare(segment):
                marked = segment
    return marked


def _tagged_answer(text: str) -> str | None:
    lowered = text if text.islower() else text.lower()
    if len(lowered) != len(text):  # some capitals lower to two characters; offsets would be off
        lowered = text
    start = lowered.rfind("<answer>")
    if start < 0:
        return None
    end = lowered.find("</answer>", start)
    content = text[start + len("<answer>") : end if end >= 0 else None].strip()
    return content or None


def _after_hashes(text: str) -> tuple[int, str | None]:
    """Position and content of the last `####` line that holds a number; a Markdown heading (`#### Step 2`) is none."""
    end = len(text)
    for _ in range(MAX_MARKS):
        at = text.rfind("####", 0, end)
        if at < 0:
            break
        line = text[at:].lstrip("#").lstrip(" \t").partition("\n")[0].removesuffix("ки").strip()
        if _HASHED_NUMBER.match(line):
            return at, line
        end = at
    return -1, None


def _boxed_answer(text: str) -> tuple[int, str | None]:
    r"""Position and content of the last `\boxed{}`; boxes joined by commas, `and` or `or` are one answer."""
    if "box" not in text:
        return -1, None
    contents: list[str] = []
    last_at = next_start = -1
    for match in reversed(list(_BOX.finditer(text))[-MAX_MARKS:]):
        content, end = _box_content(text, match.end())
        if not content:
            continue
        if contents and not _joined(text[end:next_start]):
            break
        contents.insert(0, content)
        last_at = last_at if last_at >= 0 else match.start()
        next_start = match.start()
    if not contents:
        return -1, None
    return last_at, contents[-1] if _same_value(contents) else ", ".join(contents)


def _same_value(contents: list[str]) -> bool:
    """One answer boxed twice, perhaps as a fraction and as a mixed number."""
    numbers = {parse_number(normalize(content)) for content in contents}
    return len(set(contents)) == 1 or (None not in numbers and len({number.value for number in numbers if number}) == 1)


def _joined(between: str) -> bool:
    """True if nothing but commas, `and`, `or` or a label like `y_2 =` stands between two boxes."""
    if len(between) > 60 or not between.strip(" .\n"):
        return False
    return _BOX_JOIN.fullmatch(between) is not None or re.fullmatch(r"[^\w=]{1,12}", between) is not None


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED = re.compile(r"[^\s$]+")


def _box_content(text: str, at: int) -> tuple[str, int]:
    """What stands in the braces that open at `at` and where they end; an unclosed box ends with its line."""
    if at >= len(text):
        return "", at
    if text[at] != "{":  # \boxed 5
        word = _UNBRACED.match(text, at)
        return (word[0].rstrip(".,"), word.end()) if word else ("", at)
    depth = 0
    for match in _BRACE.finditer(text, at):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return text[at + 1 : match.start()].strip(_BLANKS), match.end()
    return text[at + 1 :].partition("\n")[0].strip(" $"), len(text)


def _phrased_answers(text: str) -> list[str]:
    """The sentences after `The answer is` and its like, the last one first."""
    segments: list[str] = []
    for match in list(_PHRASE.finditer(text))[-MAX_MARKS:]:
        segment = _sentence_from(text, match.end())
        if segment and not (match["short"] and not _is_bare(segment)):
            segments.append(segment)
    return segments[::-1]


def _sentence_from(text: str, at: int) -> str:
    rest = text[at : at + TAIL_CHARS]
    formula = _LEADING_FORMULA.match(rest)  # may go over several lines, and has no sentence end inside
    for mark in (_SENTENCE_END, _EXPLANATION):
        end = mark.search(rest, formula.end() if formula else 0)
        rest = rest[: end.start()] if end else rest
    return rest.strip(" *_\t\"'").removesuffix("ки").rstrip(" .*")


def _is_bare(text: str) -> bool:
    """True if `text` is short and has too few words to be a sentence round its answer."""
    if len(text) > MAX_BARE_CHARS or (_MATH.search(text) and not _MATH.fullmatch(text)):
        return False
    if _SENTENCE_BEFORE_NUMBER.match(text):
        return False
    return sum(not word.startswith("\\") for word in _PROSE.findall(text)) <= MAX_BARE_WORDS


def _last_mathematics(text: str) -> str | None:
    """The last group of formulas with the unit after it, or a number outside of formulas if that comes later."""
    spans = list(_MATH.finditer(text))
    outside = _MATH.sub(lambda match: " " * len(match[0]), text)
    numbers = list(_PLAIN_NUMBER.finditer(outside))
    number = numbers[-1] if numbers else None
    if number is not None and (not spans or number.start() >= spans[-1].end()):
        return number[0].strip() + _unit_after(text, number.end())
    if not spans:
        return None
    first = len(spans) - 1
    while first > 0 and _MATH_JOIN.fullmatch(text, spans[first - 1].end(), spans[first].start()):
        first -= 1
    answer = ", ".join(span[span.lastgroup or 0].strip() for span in spans[first:])
    unit = _UNIT_AFTER_MATH.match(text, spans[-1].end())
    return f"{answer} {unit[0].strip()}" if unit else answer


def _unit_after(text: str, at: int) -> str:
    """The unit behind a number: `" cm"`, `" miles per hour"`; nothing for words that are no units."""
    words = _WORDS_AFTER_NUMBER.match(text, at, at + MAX_UNIT_CHARS)
    tail = words[0] if words else ""
    while tail:
        if parse_unit(tail) is not None:
            return tail if tail.startswith(" ") else f" {tail}"
        tail = re.sub(r"\s*(?:/|[a-zA-Z]+[^\sa-zA-Z/]*)$", "", tail)
    return ""
