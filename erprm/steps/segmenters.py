r"""What a step is in the styles that go by lines and marks.

Each function finds the spans ``(start, stop)`` of the steps in a text, in order, without overlap; what lies between
two spans is separator. A span holds a character that is not white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from erprm.steps.blocks import display_cover

Span = tuple[int, int]

BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
GSM8K_ANSWER = "####"
# Words after the four signs make a heading of the line.
_NO_HEADING = re.compile(r"####(?!#|[ \t]*[*_]*[^\W\d_])")
_PRM800K_ANSWER = re.compile(r"# Answer[ \t\r]*(?:\n|\Z)")

_LINE_END = re.compile(r"\n")
_TAG = "ки"
_MATH_SHEPHERD_MARKER = re.compile(r"(?<!\s)(?P<space>\s*)(?=Step\s+\d+\s*:)")
_MARKER = re.compile(
    r"""
    ^ (?P<indent> [ \t]* ) (?: \#{1,6} [ \t]+ )? (?: \*\* | __ )?
    (?: (?P<step> Step ) [ \t]+ \d{1,3} (?: [ \t]* [:.)] | \*\* | __ | [ \t]+ [-–—] | [ \t]* $ )
      | (?P<open> \( )? (?P<number> \d{1,3} ) (?P<close> [.)] ) (?= \s | \*\* | __ | \Z )
    )
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)


def stripped(text: str, start: int, stop: int) -> Iterator[Span]:
    """The span without the white space at its ends; none if there is nothing else."""
    segment = text[start:stop]
    if content := segment.strip():
        start += len(segment) - len(segment.lstrip())
        yield start, start + len(content)


def between(text: str, separators: Iterable[Span]) -> list[Span]:
    """The spans that separators leave, empty ones included."""
    edges = [0, *(edge for span in separators for edge in span), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def strip_all(text: str, spans: Iterable[Span]) -> list[Span]:
    """The spans without white space at their ends, blank ones left out."""
    return [span for start, stop in spans for span in stripped(text, start, stop)]


def join_final_answer(text: str, spans: list[Span]) -> list[Span]:
    """The spans with a final answer in the step before it.

    That is a span ``#### 42`` (GSM8K), be it that the policy went on after it, a last span ``####`` with any answer, or
    everything from a line ``# Answer`` on (PRM800K).
    """
    joined: list[Span] = []
    for start, stop in spans:
        is_last = stop == spans[-1][1]
        if joined and _PRM800K_ANSWER.match(text, start):
            return [*joined[:-1], (joined[-1][0], spans[-1][1])]
        if joined and (_NO_HEADING.match(text, start) or (is_last and text.startswith(GSM8K_ANSWER, start))):
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def segment_lines(text: str) -> list[Span]:
    """A step a line; the final answer joins the step before it, and a block of several lines counts as one."""
    cover = display_cover(text)
    line_ends = (match.span() for match in _LINE_END.finditer(text) if match.start() not in cover)
    return join_final_answer(text, strip_all(text, between(text, line_ends)))


def segment_paragraphs(text: str) -> list[Span]:
    """A step between blank lines, but for those within a block; the final answer joins the step before it.

    Spaces at the end of a paragraph stay with it, so that paragraphs joined by blank lines are found again exactly.
    """
    cover = display_cover(text)
    blank = (match.span() for match in BLANK_LINES.finditer(text) if match.start() not in cover)
    spans = []
    for start, stop in between(text, blank):
        segment = text[start:stop]
        if segment.strip():
            start += len(segment) - len(segment.lstrip())
            spans.append((start, start + len(segment.lstrip().rstrip("\r\n"))))
    return join_final_answer(text, spans)


def segment_math_shepherd(text: str) -> list[Span]:
    """A step from each ``Step i:`` to the next, without its `` ки``; text before the first marker joins its step."""
    starts = [0, *_math_shepherd_starts(text)[1:], len(text)]
    spans = strip_all(text, pairwise(starts))
    return strip_all(text, ((start, stop - len(_TAG) * text.endswith(_TAG, start, stop)) for start, stop in spans))


def _math_shepherd_starts(text: str) -> list[int]:
    """Where a ``Step i:`` stands at the beginning of the text or of a line, or right after a tag."""
    return [
        match.end()
        for match in _MATH_SHEPHERD_MARKER.finditer(text)
        if match.start() == 0 or "\n" in match["space"] or text.endswith(_TAG, 0, match.start())
    ]


def has_tags(text: str) -> bool:
    """Whether a line of the text ends in the tag `` ки``, as all steps of Math-Shepherd do."""
    return any(line.rstrip().endswith(_TAG) for line in text.split("\n"))


@dataclass(frozen=True)
class Markers:
    """Where the numbered steps of a text start.

    Attributes:
        starts: where each of their lines starts.
        named: whether they are called ``Step 1:``, not just ``1.``.
    """

    starts: list[int]
    named: bool


def find_markers(text: str) -> Markers:
    """Finds the numbered steps of a text.

    ``Step 2:`` marks a step wherever such a line is; then plain numbers mark none. Otherwise a line's number (``2.``,
    ``2)`` or ``(2)``) marks one if it is written like the first number, is indented no further, and follows the number
    before it, so that a list within a step, or a line that happens to start with a number, marks none.
    """
    cover = display_cover(text)
    matches = [match for match in _MARKER.finditer(text) if match.start() not in cover]
    steps = [match.start() for match in matches if match["step"]]
    return Markers(steps or list(_numbers_in_sequence(matches)), named=bool(steps))


def _numbers_in_sequence(matches: list[re.Match[str]]) -> Iterator[int]:
    if not matches:
        return
    first = matches[0]
    expected = int(first["number"])
    for match in matches:
        alike = match["open"] == first["open"] and match["close"] == first["close"]
        if alike and len(match["indent"]) <= len(first["indent"]) and int(match["number"]) == expected:
            yield match.start()
            expected += 1


def segment_numbered(text: str) -> list[Span]:
    """A step from each marker to the next (see :func:`find_markers`); text before the first joins its step."""
    starts = [0, *find_markers(text).starts[1:], len(text)]
    return strip_all(text, pairwise(starts))
