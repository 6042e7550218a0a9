"""Lines, paragraphs and the marked steps of Math-Shepherd.

Each function finds the spans of the steps in a text. A span holds a character that is not white space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from erprm.steps.blocks import display_cover
from erprm.steps.headings import without_marks
from erprm.steps.spans import Span, between, strip_all

BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
GSM8K_ANSWER = "####"
# Words after the four signs make a heading of the line.
_NO_HEADING = re.compile(r"####(?!#|[ \t]*[*_]*[^\W\d_])")
_PRM800K_ANSWER = re.compile(r"^# ?Answer:?[ \t\r]*$", re.MULTILINE | re.IGNORECASE)

_LINE_END = re.compile(r"\n")
_TAG = "ки"
_MATH_SHEPHERD_MARKER = re.compile(r"(?<!\s)(?P<space>\s*)(?=Step\s+\d+\s*:)")


def is_gsm8k_answer(text: str, start: int) -> bool:
    """True if a line is a final answer as GSM8K writes it (``#### 42``), and not a heading of level four."""
    return bool(_NO_HEADING.match(text, start))


def prm800k_answer(text: str) -> int | None:
    """Start of the final answer as PRM800K writes it: a line ``# Answer``, then all that follows."""
    if "answer" not in text.lower():
        return None
    cover = display_cover(text)
    starts = (match.start() for match in _PRM800K_ANSWER.finditer(text))
    return next((start for start in starts if start not in cover), None)


def join_final_answer(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans with a final answer of GSM8K in the step before it.

    That is a span ``#### 42``, be it that the policy went on after it, or a last line ``####`` with any answer.
    """
    joined: list[Span] = []
    for start, stop in spans:
        is_last = stop == spans[-1][1]
        if joined and (is_gsm8k_answer(text, start) or (is_last and _is_any_answer(text[start:stop]))):
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _is_any_answer(step: str) -> bool:
    return step.startswith(GSM8K_ANSWER) and "\n" not in step.strip()


def segment_lines(text: str) -> list[Span]:
    """A step a line; the final answer joins the step before it, and a block of several lines counts as one."""
    cover = display_cover(text)
    line_ends = (match.span() for match in _LINE_END.finditer(text) if match.start() not in cover)
    return _finished(text, strip_all(text, between(text, line_ends)))


def segment_paragraphs(text: str) -> list[Span]:
    """A step between blank lines, but for those within a block; the final answer joins the step before it.

    Spaces at the end of a paragraph stay with it, so that paragraphs joined by blank lines are found again exactly.
    """
    return _finished(text, find_paragraphs(text))


def find_paragraphs(text: str) -> list[Span]:
    """Finds the text between blank lines outside of blocks, headings and rules included."""
    cover = display_cover(text)
    blank = (match.span() for match in BLANK_LINES.finditer(text) if match.start() not in cover)
    spans = []
    for start, stop in between(text, blank):
        segment = text[start:stop]
        if segment.strip():
            start += len(segment) - len(segment.lstrip())
            spans.append((start, start + len(segment.lstrip().rstrip("\r\n"))))
    return spans


def _finished(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans with a final answer and with headings in the steps they belong to, and without rules."""
    return without_marks(text, join_final_answer(text, spans))


def segment_math_shepherd(text: str) -> list[Span]:
    """A step from each ``Step i:`` to the next, without its `` ки``; text before the first marker joins its step."""
    starts = [0, *_math_shepherd_starts(text)[1:], len(text)]
    spans = strip_all(text, pairwise(starts))
    return strip_all(text, ((start, stop - len(_TAG) * text.endswith(_TAG, start, stop)) for start, stop in spans))


def _math_shepherd_starts(text: str) -> list[int]:
    """Positions of ``Step i:`` at the beginning of the text or of a line, or right after a tag."""
    return [
        match.end()
        for match in _MATH_SHEPHERD_MARKER.finditer(text)
        if match.start() == 0 or "\n" in match["space"] or text.endswith(_TAG, 0, match.start())
    ]


def has_tags(text: str) -> bool:
    """True if a line of the text ends in the tag `` ки``, as all steps of Math-Shepherd do."""
    return any(line.rstrip().endswith(_TAG) for line in text.split("\n"))
