"""Which style a text is written in."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from erprm.steps.segmenters import (
    GSM8K_ANSWER,
    Span,
    find_markers,
    has_tags,
    segment_lines,
    segment_paragraphs,
)


def choose_style(text: str) -> str:
    """The style of a text: the first of these rules that holds.

    1. A line ends in the tag `` ки``: ``math_shepherd``.
    2. At least two lines begin with ``Step 1:``, ``Step 2:``, ...: ``numbered``; but ``paragraphs`` if each of these
       steps is one paragraph, since then the words before the first and after the last are steps as well.
    3. The last line begins with ``####``: ``lines``.
    4. There are several paragraphs: ``paragraphs``.
    5. At least two lines are numbered ``1.``, ``2.``, ... or ``1)``, ``2)``, ...: ``numbered``.
    6. There are several lines: ``lines``.
    7. Otherwise: ``sentences``.

    A block of code or a displayed formula counts as one line, and nothing in it as a marker.
    """
    if has_tags(text):
        return "math_shepherd"
    markers = find_markers(text)
    paragraphs = segment_paragraphs(text)
    numbered = len(markers.starts) > 1
    if numbered and markers.named:
        return "paragraphs" if _one_paragraph_each(markers.starts, paragraphs) else "numbered"
    if text.rstrip().rpartition("\n")[2].lstrip().startswith(GSM8K_ANSWER):
        return "lines"
    if len(paragraphs) > 1:
        return "paragraphs"
    if numbered:
        return "numbered"
    return "lines" if len(segment_lines(text)) > 1 else "sentences"


def _one_paragraph_each(markers: Sequence[int], paragraphs: Sequence[Span]) -> bool:
    """Whether each marked step but the last, which words of conclusion may follow, is one paragraph."""
    starts = [start for start, _ in paragraphs]
    inner = (bisect_left(starts, after) - bisect_left(starts, marker) for marker, after in pairwise(markers))
    return starts[-1] >= markers[-1] and all(count == 1 for count in inner)
