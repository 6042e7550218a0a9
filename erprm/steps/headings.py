"""Lines that are not steps: rules, bare tags, and headings with nothing below them.

    ## Solution                        <- a heading belongs to the step that it announces

    **Step 1:**                        <- so does this one
    3 + 4 = 7.
    ---                                <- a rule belongs to no step
    **The answer is 7.**               <- a statement in bold is a step

This module joins headings to steps, and takes rules and tags off their ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from erprm.steps.spans import Span, strip_all

_RULE = re.compile(r"-{3,}|\*{3,}|_{3,}|={3,}|[—–─━]{2,}|⸻|</?[A-Za-z][A-Za-z_]*>")
_STEP = r"(?:step[ \t]*\#?(?:\d{1,3}|[ivx]{1,5}|one|two|three|four|five|six|seven|eight|nine|ten)\b)"
_LABEL = (
    rf"(?:{_STEP}|(?:final[ ]|the[ ])?(?:answer|solution|conclusion|explanation|proof|result)"
    r"|步骤[ ]?[\d一二三四五六七八九十]+|第[ ]?[\d一二三四五六七八九十]+[ ]?步|ステップ[ ]?\d+|手順[ ]?\d+"
    r"|解[答法]?|答案?|证明|結論|结论)"
)
_ATX = re.compile(r"#{1,6}(?:[ \t]+\S.*)?\Z")
_BOLD = re.compile(r"(?:\(?\d{1,3}[.)][ \t]+|[-*+][ \t]+)?(?:\*\*\*?(?![\s*])[^*]+\*\*\*?|__(?![\s_])[^_]+__)[:：.]?\Z")
_LABEL_ALONE = re.compile(rf"\W*(?:{_LABEL})\W*\Z", re.IGNORECASE)
_NUMBERED = re.compile(rf"\W*(?:{_STEP}|\d{{1,3}}[.)])", re.IGNORECASE)
# What makes a statement of a line, however it is set.
_EQUATION_OR_ANSWER = re.compile(
    r"=|\\boxed|(?:answer|result|答案|答え)[*_ \t]{0,4}(?:[:：]|is\b|是|は)[*_ \t]{0,4}[^\s*_]", re.IGNORECASE
)
_MARKS_OF_BOLD = "*_ \t"


def without_marks(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans without rules and bare tags, and with headings in the steps that they announce."""
    return join_headings(text, without_rules(text, spans))


def without_rules(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans without rules and bare tags at their ends; a text of nothing else is one step."""
    kept: list[Span] = []
    for start, stop in spans:
        first, last = start, stop
        while first < last and _is_rule(line := text[first : _line_end(text, first, last)]):
            first += len(line) + 1
        while first < last and _is_rule(text[(line_start := text.rfind("\n", first, last) + 1 or first) : last]):
            last = line_start - 1
        kept += [(start, stop)] if (first, last) == (start, stop) else strip_all(text, [(first, max(first, last))])
    return kept or strip_all(text, spans[:1])


def _line_end(text: str, start: int, stop: int) -> int:
    end = text.find("\n", start, stop)
    return stop if end < 0 else end


def _is_rule(line: str) -> bool:
    """True if a line is a rule, a tag alone, or blank."""
    words = "".join(line.split())
    return not words or bool(_RULE.fullmatch(words))


def join_headings(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans with each heading in the step after it, or at the end of the text in the step before it."""
    joined: list[Span] = []
    opened: int | None = None
    for start, stop in spans:
        opened = start if opened is None else opened
        if not is_heading(text[start:stop]):
            joined.append((opened, stop))
            opened = None
    if opened is None:
        return joined
    if joined and _announces(text[opened : spans[-1][1]]):
        joined[-1] = (joined[-1][0], spans[-1][1])
    else:
        joined.append((opened, spans[-1][1]))
    return joined


def is_heading(step: str) -> bool:
    """True if a step is a heading and nothing more."""
    line = step.strip()
    if "\n" in line:
        return False
    if _LABEL_ALONE.match(line):
        return line[0] in "#*_" or line[-1] in ":：." or bool(_NUMBERED.match(line))
    if _EQUATION_OR_ANSWER.search(line):
        return False
    if _ATX.match(line):
        return True
    ends_a_sentence = line.rstrip(_MARKS_OF_BOLD).endswith((".", "!", "?", "。", "！", "？"))
    return bool(_BOLD.match(line)) and (not ends_a_sentence or bool(_NUMBERED.match(line)))


def _announces(last: str) -> bool:
    """True if headings at the end of a text announced something: words in bold there may be the answer itself."""
    line = last.rstrip(_MARKS_OF_BOLD)
    return line.startswith("#") or line.endswith((":", "：")) or bool(_LABEL_ALONE.match(last))
