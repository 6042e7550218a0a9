r"""The last formula of running text: what a solution without any mark seems to answer.

Formulas stand between delimiters (`$x^2$`) or bare among the words (`meet in (7,-4).`). A formula is taken whole or not
at all: what is cut off, or printed by a program that was never run, is no answer.
"""

from __future__ import annotations

import re

from erprm.grading.answers.characters import BLANKS, clean_characters
from erprm.grading.answers.formula import FUNCTIONS
from erprm.grading.answers.numeric import THOUSANDS
from erprm.grading.answers.quantity import may_be_variable, parse_unit
from erprm.grading.answers.wholeness import stands_alone

# The answer is looked for in this much of the end of the text.
TAIL_CHARS = 4000
# A unit behind a number is at most so long.
MAX_UNIT_CHARS = 60
# A bare formula has at most this many words.
MAX_FORMULA_WORDS = 60

MATH = re.compile(
    r"\$\$(?P<display>(?:\\[\s\S]|[^$\\])+)\$\$"
    r"|(?<!\\)\$(?!\d[\d,.]*\s+[a-zA-Z]{2,}[^$\\\n]*\s\$\d)(?P<inline>(?:\\.|[^$\\\n])+)\$"  # no `$5 of her $20`
    r"|\\\((?P<parenthesis>(?:[^\\]|\\(?![()]))+)\\\)"
    r"|\\\[(?P<bracket>(?:[^\\]|\\(?![\[\]]))+)\\\]"
    r"|\\begin\{(?P<environment>(?:align|gather|equation|eqnarray|multline)\*?)\}"
    r"(?P<rows>(?:[^\\]|\\(?!end\{(?P=environment)\}))+)\\end\{(?P=environment)\}"
)
# Words, but no commands.
PROSE = re.compile(r"(?<![\\a-zA-Z])[A-Za-z]{2,}")
_MATH_JOIN = re.compile(r"[\s,]*(?:,|;|\band\b|\bor\b|或者?|和|、)[\s,]*")
_REASON_BEFORE = re.compile(r"\b(?:since|because|as)\s+$", re.IGNORECASE)
_UNIT_AFTER_MATH = re.compile(r"\s*(?:\\?%|percent\b|pct\b|[a-zA-Z]+\s*$)|-[a-zA-Z]+", re.IGNORECASE)
_POWER_UNIT_AFTER = re.compile(r" (?:square|cubic) [a-zA-Z]+")
_WORDS_AFTER_NUMBER = re.compile(r"(?:\s*(?:/|[a-zA-Z]+(?:\^?\{?[23²³]\}?)?)){1,4}")
_NUMBER_BODY = rf"(?:{THOUSANDS}(?!\d)|\d+)(?:[.,]\d+)?|\.\d+"
_PLAIN_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9_.^])(?:(?<![)\]])-)?(?:\\?\$)?-?(?:{_NUMBER_BODY})"
    r"(?:\s?/\s?\d+|(?::\d+)+|\^\{?-?\d+\}?)?(?:\s*(?:\\?%|percent\b|pct\b))?",
    re.IGNORECASE,
)
_ATTACHED_UNIT = re.compile(r"(?P<name>[a-zA-Z]+)\^?\{?[23²³]?\}?")
_POWER = re.compile(r"[a-zA-Z]{1,2}\^[23]")
_WORD = re.compile(r"\S+")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|mbox|operatorname|begin|end|mathbf)\s*\{[^{}]*\}")
_OPERATOR = re.compile(
    r"[-+*/=<>≤≥≠≈±×·÷∪∩∈:]+|\\(?:cdot|times|le|leq|ge|geq|ne|neq|pm|mp|approx|cup|cap|in|div|equiv|sqrt|frac)"
)
_STRONG = re.compile(r"\d|\\[a-zA-Z(\[{]|[√π²³∞½¼¾]|[a-zA-Z)\]][-+*/^=<>][a-zA-Z(\[]")
_CJK = re.compile(r"[\u3000-\u9fff\uac00-\ud7af\uff01-\uff60]+")
_FACTOR = re.compile(r"\d+/\d+|\\(?:[dt]?frac|sqrt|pi|sin|cos|tan|ln|log|cdot|times|binom)(?![a-z]).*")
_COMPOUND = re.compile(
    r"\d+(?:\.\d+)?\s+(?:dollars?|hours?|feet|foot|pounds?|minutes?|meters?|years?|days?|weeks?)\s*,?\s*(?:and\s+)?$"
)

_CODE_BLOCK = re.compile(r"```[ \t]*(?P<language>[\w+-]*)[^\n`]*\n(?P<body>(?:(?!```).)*)(?:```|\Z)", re.DOTALL)
_REMOVED_CODE = "```"
_LANGUAGE_NAMES = """
python py python3 sympy sage c cpp c++ java javascript js typescript ts r matlab octave julia sql bash sh shell go rust
ruby haskell perl php kotlin scala swift mathematica wolfram
"""
_PROGRAMMING_LANGUAGES = frozenset(_LANGUAGE_NAMES.split())
_LOOKS_LIKE_CODE = re.compile(
    r"^\s*(?:print\s*\(|return\b|def \w+\s*\(|import \w|from \w+ import\b|(?:for|while|if|elif|else)\b.*:\s*$|assert\b"
    r"|\w+(?:\.\w+)*\s*(?:=|\+=)\s*(?:\w+\.)*\w\w+\(.*\)\s*$|console\.log\(|cout\s*<<|#include)"
)
# A price, or arithmetic that begins with one, such as `$100/25 = 4 pens`.
_MONEY = re.compile(r"\s*-?\.?\d[\d,.]*(?:[\d\s,./*+=x()-]*\s[A-Za-z]{2,}|(?![^$\n]*[\\^_=]))")
_ENDS_OPEN = re.compile(
    r"(?:[=+/^({\\&]|(?<=\s)[-<>*\[]|(?<=[\d)}])-|\\(?:cdot|times|frac|dfrac|tfrac|sqrt|le|leq|ge|geq|ne|neq|pm|mp|approx"
    r"|to|div|cup|cap|in|equiv|left|right|binom|text|begin|end|log|ln|sin|cos|tan)\s*|(?:\\[a-zA-Z]+|(?<![\w_])[a-zA-Z])_"
    r"|=\s*\||(?<!\w)(?:is|are|equals?|the|of|and|or|by|then|so|we|that|from|for|with|get|have):?)$"
)
# A fraction whose second part is not there.
_HALF_A_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\d|\{(?:[^{}]|\{[^{}]*\})*\})\s*$")
_OPEN_INTERVAL = re.compile(r"[\[\]][^\[\]]*,[^\[\]]*\w[^\[\]]*\[\W*$")  # ]2, 7[
_PAIRS = (("\\begin{", "\\end{"), ("\\lfloor", "\\rfloor"), ("\\lceil", "\\rceil"), ("\\langle", "\\rangle"))
_TRAILING_REMARK = re.compile(
    r"\s*[(\[](?:see|check|since|because|as|from|by|note|here|where|which|using|this|that|also|i\.e\.|e\.g\.)\b"
    r"[^()\[\]]*[)\]]\s*\.?\s*$",
    re.IGNORECASE,
)
_SELF_CHECK = re.compile(
    r"(?:so |and |thus |therefore,? )?(?:this|that|the|our|my) (?:final )?(?:answer|result|solution|value)\b[^=$\d]*"
    r"\b(?:correct|right|valid|reasonable|consistent|verified|checks|makes sense|confirmed|plausible|unique|complete)\b"
    r"|(?:this|that|it|which) (?:is|was) (?:the|indeed)\b[^=$\d]*\s(?:because|since|as)\b"
    r"|(?:\*\*)?(?:check(?:ing)?|verification|verify(?:ing)?)\b(?:\*\*)?\s*:"
    r"|(?:to (?:verify|check|confirm)|checking|indeed),"
    r"|\(?note\b(?: that)?|(?:we|let us|let's|let me|i)\s(?:can\s)?(?:now\s|also\s)?(?:check|verify|double-check)\b",
    re.IGNORECASE,
)
ORNAMENTS = "✅✔✓☑🎯📌👉➡\ufe0f"
_SENTENCE_START = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def without_code(text: str) -> str:
    """The text without blocks of program code; blocks that hold output or a formula keep their content."""
    if "```" not in text:
        return text

    def kept(match: re.Match[str]) -> str:
        language, body = match["language"].lower(), match["body"]
        lines = body.splitlines()
        is_code = language in _PROGRAMMING_LANGUAGES or (not language and any(map(_LOOKS_LIKE_CODE.match, lines)))
        return f"\n{_REMOVED_CODE}\n" if is_code else body

    return _CODE_BLOCK.sub(kept, text)


def is_cut_off(text: str) -> bool:
    """True if the text ends inside a formula: an open bracket or delimiter, or a sign with nothing after it."""
    text = text.rstrip()
    tail = text[-TAIL_CHARS:]
    if _ENDS_OPEN.search(text[-20:]) or _HALF_A_FRACTION.search(text[-300:]):
        return True
    if any(tail.count(opener) > tail.count(closer) for opener, closer in _PAIRS):
        return True
    rest = MATH.sub(" ", tail)
    line = rest.rpartition("\n\n")[2]
    if "$$" in line:
        return True
    for opener in ("\\[", "\\("):
        if opener in line and re.search(r"(?<!\\)" + re.escape(opener), line):
            return True
    last_line = rest.rpartition("\n")[2]
    dollar = re.search(r"(?<!\\)\$(?!.*(?<!\\)\$)(?P<rest>.*)", last_line)
    formula = dollar["rest"] if dollar else ""
    if (formula[:1].strip() or re.search(r"[\\^_=]", formula)) and not _MONEY.match(formula):
        return True
    return _open_brackets(last_line)[0] > 0 and not _OPEN_INTERVAL.search(last_line)


def ends_in_code(text: str) -> bool:
    """True if the last line is a statement of a program, whose output is not there."""
    last_line = text.rstrip().rpartition("\n")[2]
    return last_line == _REMOVED_CODE or _LOOKS_LIKE_CODE.match(last_line) is not None


def without_self_check(text: str) -> str:
    """Cuts off remarks in brackets and sentences that only say that the answer is right, at the end of the text."""
    text = text.rstrip(BLANKS + ORNAMENTS)
    for _ in range(3):
        shorter = _TRAILING_REMARK.sub("", text[-TAIL_CHARS:])
        text = text[:-TAIL_CHARS] + shorter
        starts = [match.end() for match in _SENTENCE_START.finditer(text.rstrip())]
        if not starts or not _SELF_CHECK.match(text, starts[-1]) or not re.search(r"\d|\\|\$", text[: starts[-1]]):
            break
        text = text[: starts[-1]].rstrip()
    return text


def last_formula(text: str) -> str | None:
    """The last group of formulas with the unit after it, or a bare formula or number if that comes later."""
    if is_cut_off(text):
        return None
    spans = list(MATH.finditer(text))
    outside = _CJK.sub(lambda match: " " * len(match[0]), MATH.sub(lambda match: " " * len(match[0]), text))
    bare = _last_bare(outside, spans[-1].end() if spans else 0)
    if bare is not None:
        start, end = bare
        found = outside[start:end]
        number = _PLAIN_NUMBER.match(found)
        attached = _ATTACHED_UNIT.fullmatch(found, number.end()) if number else None
        if number and attached and parse_unit(clean_characters(attached[0])) is not None:
            return number[0] if may_be_variable(attached["name"]) else f"{number[0]} {attached[0]}"
        if _PLAIN_NUMBER.fullmatch(found):
            if not stands_alone(outside, start, end):
                return None
            behind = _unit_after(text, end)
            is_letter = _POWER.fullmatch(behind.strip()) and may_be_variable(behind[1:-2])
            found += rf"\text{{{behind[:-2]}}}{behind[-2:]}" if is_letter else behind
            compound = _COMPOUND.search(text[max(0, start - 40) : start])
            return f"{compound[0]}{found}" if compound and " " in found else found
        right = found
        if "=" in found and not re.search(r"[<>≤≥]|\\[lg]e", found) and not _ASKS_FOR_EQUATION.search(text, 0, start):
            right = found.rpartition("=")[2].strip()
        return (right + _unit_after(text, end)) if right else None
    if not spans:
        return None
    first = len(spans) - 1
    while first > 0 and _MATH_JOIN.fullmatch(text, spans[first - 1].end(), spans[first].start()):
        if _REASON_BEFORE.search(text[: spans[first - 1].start()][-20:]):
            break
        first -= 1
    answer = ", ".join(_result(span[span.lastgroup or 0]) for span in spans[first:])
    if (total := _TOTAL.fullmatch(answer)) and not _ASKS_FOR_EQUATION.search(text, 0, spans[-1].start()):
        answer = total[1]
    unit = _UNIT_AFTER_MATH.match(text, spans[-1].end())
    power = _POWER_UNIT_AFTER.match(text, spans[-1].end())
    if power and parse_unit(power[0]) is not None:
        return f"{answer}{power[0]}"
    return f"{answer} {unit[0].strip()}" if unit else answer


# `a + b = 7`, which states a sum unless it is an equation that was asked for.
_TOTAL = re.compile(
    r"[^=<>]*(?:[\w})]\s*[-+]\s*[\w\\]|\d[a-zA-Z]|[a-zA-Z]\()[^=<>]*=(?:[\d\s+]*=)?\s*(-?(?:\d[\d.,]*(?<=\d)|\\d?frac\{\d+\}\{\d+\}|\d*\s?\\sqrt\{\d+\}))"
)
_ASKS_FOR_EQUATION = re.compile(r"\b(?:equations?|lines?|planes?|circle|curve|ellipse|hyperbola|parabola|locus|form)\b")
_ALIGNED = re.compile(r"\\begin\{(align(?:ed)?\*?|split|gathered)\}(.*)\\end\{\1\}", re.DOTALL)
_ROW_END = re.compile(r"\\\\(?:\[[^\[\]]*\])?|\\cr\b")
_ROW_START = re.compile(r"(?:\s|&|\\(?:Rightarrow|implies|iff|q?quad|therefore)\b|\\[ ,;])*")
_NEXT_MEMBER = re.compile(r"=|\\equiv")


def _result(formula: str) -> str:
    """The last member of a computation that goes over several lines, or of one between numbers; else all of it."""
    formula = formula.strip().rstrip(".,; ")
    aligned = _ALIGNED.fullmatch(formula)
    rows = [row for row in _ROW_END.split(aligned[2] if aligned else formula) if row.strip()]
    if not aligned and (len(rows) < 2 or "&" not in formula or "\\begin" in formula):
        return formula
    row = rows[-1].strip() if rows else ""
    row = row[_ROW_START.match(row).end() :]  # type: ignore[union-attr]
    if _NEXT_MEMBER.match(row):
        row = _NEXT_MEMBER.split(row)[-1]
    elif aligned and len({each.partition("&")[0].strip() for each in rows}) == len(rows) > 1:
        return formula  # a system
    return row.replace("&", "").strip().rstrip(".,; ")


def _last_bare(text: str, after: int) -> tuple[int, int] | None:
    """Start and end of the last bare formula or number that begins after `after`."""
    words = [(match.start(), match.end()) for match in _WORD.finditer(text, after)][-400:]
    for place in range(len(words) - 1, -1, -1):
        start, end = words[place]
        word = text[start:end]
        if not _STRONG.search(word):
            continue
        unit = word.rstrip(".,;:!?)")
        if place and _POWER.fullmatch(unit) and parse_unit(unit) and _PLAIN_NUMBER.fullmatch(text, *words[place - 1]):
            continue  # 12 m^2
        if PROSE.search(_bare_of(word)) and "\\" not in word:  # "30cm", "5-digit", "(about", "H2O"
            number = _last_number(text, start, end)
            if number is None:
                continue
            return number
        return _whole_formula(text, words, place)
    return None


def _whole_formula(text: str, words: list[tuple[int, int]], place: int) -> tuple[int, int] | None:
    first = last = place
    while last - first < MAX_FORMULA_WORDS:
        run = text[words[first][0] : words[last][1]]
        opened = _open_brackets(run)
        before = text[slice(*words[first - 1])] if first > 0 else ""
        after = text[slice(*words[last + 1])] if last + 1 < len(words) else ""
        if first > 0 and (opened[1] or ("\\end" in run and "\\begin" not in run)):
            first -= 1
        elif after and opened[0]:
            last += 1
        elif first > 0 and _lists(text, words, first, run):
            first -= 1 + (before in _CONJUNCTIONS)
        elif first > 0 and _joins(before, run.split(maxsplit=1)[0], before_run=True):
            first -= 1
        elif after and _joins(after, run.split()[-1], before_run=False):
            last += 1
        else:
            break
    start, end = words[first][0], words[last][1]
    while end > start and text[end - 1] in ".,;:!?*" and not text[:end].endswith(("\\!", "\\,", "\\;")):
        if text[end - 1] == "!" and text[end - 2].isalnum() and re.match(r" [a-z]", text[end : end + 2]):
            break  # 5! ways
        if re.search(r"\d\.\.\.$", text[max(0, end - 4) : end]):
            break  # 0.333...
        end -= 1
    while start < end and text[start] in "*,;:":
        start += 1
    run = text[start:end]
    if any(_open_brackets(run)) or PROSE.search(_CONJUNCTION.sub(" ", _bare_of(run))):
        return _last_number(text, *words[place])
    return (start, end) if end > start else None


def _lists(text: str, words: list[tuple[int, int]], first: int, run: str) -> bool:
    """True if the words before a formula are another one, and a comma or conjunction between the two."""
    before = text[slice(*words[first - 1])]
    if _OPERATOR.fullmatch(run.split(maxsplit=1)[0]):
        return False
    conjunction = before in _CONJUNCTIONS and first > 1
    item = text[slice(*words[first - 2])].rstrip(",") if conjunction else before[:-1]
    if not conjunction and not before.endswith((",", ";")):
        return False
    place = first - 1 - conjunction
    introduced = place > 0 and text[slice(*words[place - 1])].lower() in ("=", "is", "at", "for", "when", "in")
    if introduced and not conjunction:  # "for n = 3, 7 of them"
        return False
    return bool(_STRONG.search(item)) and not PROSE.search(_bare_of(item)) and item[-1] not in ".:"


def _bare_of(run: str) -> str:
    """The run without what may hold letters in a formula: text, commands, names of functions."""
    bare = re.sub(r"\\[a-zA-Z]+", " ", _TEXT_COMMAND.sub(" ", run))
    return re.sub(r"[A-Za-z]{2,}", lambda match: " " if match[0] in _FORMULA_WORDS else match[0], bare)


_CONJUNCTIONS = ("and", "or")
_CONJUNCTION = re.compile(r"(?<=\s)(?:and|or)(?=\s)")
_FORMULA_WORDS = frozenset((*FUNCTIONS, "pi", "sqrt", "infinity", "oo", "mod"))


def _joins(word: str, edge: str, before_run: bool) -> bool:
    """True if a word beside a formula belongs to it."""
    if word[-1] in ".,;:!?" and before_run:
        return False
    operator, at_edge = _OPERATOR.fullmatch(word) is not None, _OPERATOR.fullmatch(edge) is not None
    if operator:
        return (word != ":" and word != "/") or not at_edge
    if at_edge:
        return not PROSE.search(_bare_of(word)) or word.strip("()") in _FORMULA_WORDS
    if before_run and edge.startswith(("\\pmod", "(mod", "(\\bmod")):
        return True
    if before_run and word.isdigit() and _FACTOR.match(edge):
        return True  # 3 1/2, 2 \sqrt{3}
    if before_run and edge.startswith("\\text{"):
        return _STRONG.search(word) is not None and not PROSE.search(_bare_of(word))  # 2 \text{ or } 3
    if before_run and (word in FUNCTIONS or word == "}"):
        return True  # ln 3, 2 \text{ or } 3
    return before_run and re.search(r"\\[a-zA-Z]+$|^[+-]$", word) is not None


def _open_brackets(run: str) -> tuple[int, int]:
    """Number of brackets opened and not closed, and closed and not opened."""
    opened = closed = 0
    for character in re.sub(r"\\[lr]angle|\\[lr]floor", "", run):
        if character in "([{":
            opened += 1
        elif character in ")]}":
            if opened:
                opened -= 1
            else:
                closed += 1
    return opened, closed


def _last_number(text: str, start: int, end: int) -> tuple[int, int] | None:
    numbers = list(_PLAIN_NUMBER.finditer(text, start, min(len(text), end + 20)))
    numbers = [number for number in numbers if number.start() < end]
    return (numbers[-1].start(), numbers[-1].end()) if numbers else None


def _unit_after(text: str, at: int) -> str:
    """The unit behind a number: `" cm"`, `" miles per hour"`; nothing for words that are no units."""
    percent = re.match(r"\s*(?:\\?%|percent\b|pct\b)", text[at : at + 12], re.IGNORECASE)
    if percent:
        return percent[0]
    words = _WORDS_AFTER_NUMBER.match(text, at, at + MAX_UNIT_CHARS)
    tail = words[0] if words else ""
    while tail:
        if parse_unit(clean_characters(tail)) is not None:
            return tail if tail.startswith(" ") else f" {tail}"
        tail = re.sub(r"\s*(?:/|[a-zA-Z]+[^\sa-zA-Z/]*)$", "", tail)
    return ""
