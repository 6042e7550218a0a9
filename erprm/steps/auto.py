"""Detects the step style of a text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from erprm.steps.blocks import display_cover
from erprm.steps.numbered import Outline, find_markers, outline, segment_numbered
from erprm.steps.reasoning import split_reasoning
from erprm.steps.segmenters import (
    find_paragraphs,
    has_tags,
    is_gsm8k_answer,
    prm800k_answer,
    segment_lines,
    segment_math_shepherd,
    segment_paragraphs,
)
from erprm.steps.sentences import segment_sentences
from erprm.steps.spans import Span


def choose_style(text: str) -> str:
    """The style of a text: the first of these rules that holds.

    1. A line ends in the tag `` ки``: ``math_shepherd``.
    2. At least two lines begin with ``Step 1:``, ``Step 2:``, ..., or most of the text is numbered ``1.``, ``2.``, ...:
       ``numbered``; but ``paragraphs`` where that gives the same steps, and those before and after them as well.
    3. The last line is ``#### 42``: ``lines``.
    4. There are several paragraphs: ``paragraphs``.
    5. There are several lines: ``lines``.
    6. Otherwise: ``sentences``.

    Neither reasoning within ``<think>`` nor what follows a line ``# Answer`` is looked at, unless there is nothing
    else. A block of code, a displayed formula and a table count as one line, and nothing in them as a marker.
    """
    if has_tags(text):
        return "math_shepherd"
    parts = split_reasoning(text)
    solution = [part for part in parts if not part.is_reasoning]
    if not solution and parts:
        return "paragraphs" if len(segment_paragraphs(text[parts[-1].start : parts[-1].stop])) > 1 else "lines"
    body = text[solution[-1].start : solution[-1].stop] if solution else text
    return _choose(body[: prm800k_answer(body)])[0]


def segment_solution(text: str) -> list[Span]:
    """The steps of a solution without its reasoning, in the style that is found in it."""
    return _choose(text)[1]


def segment_reasoning(text: str) -> list[Span]:
    """The steps of reasoning: its paragraphs, or its lines where it is a single paragraph."""
    paragraphs = segment_paragraphs(text)
    return paragraphs if len(paragraphs) > 1 else segment_lines(text)


def _choose(text: str) -> tuple[str, list[Span]]:
    """The style of a text without reasoning, and the steps."""
    if has_tags(text):
        return "math_shepherd", segment_math_shepherd(text)
    paragraphs = segment_paragraphs(text)
    markers = find_markers(text)
    if len(markers.starts) > 1:
        found = outline(text, markers.starts)
        if markers.named or _most_is_numbered(text, markers.starts, found):
            as_paragraphs = found.spans == paragraphs and found.spans != segment_numbered(text)
            return "paragraphs" if as_paragraphs else "numbered", found.spans
    lines = segment_lines(text)
    if is_gsm8k_answer(text, _last_line(text)):
        return "lines", lines
    if len(paragraphs) > 1:
        return "paragraphs", paragraphs
    return ("lines", lines) if len(lines) > 1 else ("sentences", segment_sentences(text))


def _most_is_numbered(text: str, starts: Sequence[int], found: Outline) -> bool:
    """True if numbered steps hold at least as many paragraphs, or lines, as stand around them.

    Where words introduce numbered steps of one paragraph each, lines of the last count as around it if no other step
    has so many: what follows a list of cases is no part of the last case. A single such line may be the conclusion.
    """
    steps = [text[start:stop] for start, stop in pairwise([*starts, found.numbered[-1][1]])]
    around = len(found.before) + len(found.after)
    paragraphs = [len(find_paragraphs(step)) for step in steps]
    if max(paragraphs[:-1]) > 1:
        return sum(paragraphs) >= around
    if not text[: starts[0]].strip():
        return len(steps) >= around
    *others, last = map(_lines_of_prose, steps)
    excess = last - max(others)
    return len(steps) >= around + (excess if excess > 1 else 0)


def _lines_of_prose(step: str) -> int:
    """Number of lines of a step that are neither indented nor items nor in a block."""
    cover = display_cover(step)
    return sum(
        start not in cover and (start == 0 or step[start - 1] == "\n") and step[start] not in "-*+•"
        for start, _ in segment_lines(step)
    )


def _last_line(text: str) -> int:
    end = len(text.rstrip())
    start = text.rfind("\n", 0, end) + 1
    return start + len(text[start:end]) - len(text[start:end].lstrip())
