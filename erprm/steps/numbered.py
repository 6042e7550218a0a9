"""Numbered steps: where they start, and what stands before and after them.

    We add.                   <- a line above the first number belongs to its step
    1. 3 + 4 = 7.
    2. Double it:
       1. 7 * 2 = 14.         <- a list within a step is part of it
    3. 14 - 1 = 13.

    The answer is 13.         <- the conclusion

The style ``numbered`` asks only where steps start. ``auto`` also takes apart what stands around them.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from erprm.steps.blocks import display_cover
from erprm.steps.headings import is_heading, without_marks, without_rules
from erprm.steps.segmenters import find_paragraphs, join_final_answer, segment_lines, segment_paragraphs
from erprm.steps.spans import Span, shifted, strip_all

_HAN_NUMBER = r"(?:\d{1,3}|[一二三四五六七八九十]{1,3})"
_NUMBER_WORD = r"(?:one|two|three|four|five|six|seven|eight|nine|ten|[ivx]{1,5})"
_MARKER = re.compile(
    rf"""
    ^ (?P<indent> [ \t\u3000]* ) (?P<head> \#{{1,6}} [ \t]* )? (?: [-*+•] [ \t]+ (?= [*_]* Step ) )?
    (?P<bold> \*\*\*? | __ )?
    (?: [(\[]? (?P<step> Step [ \t]* \#? (?: \d{{1,3}} | {_NUMBER_WORD} ) \b )
      | (?P<han> 第 [ ]? {_HAN_NUMBER} [ ]? 步 | (?: 步骤 | 步驟 | ステップ | 手順 | 단계 ) [ ]? {_HAN_NUMBER} )
      | (?P<open> [(（\[] )? (?P<number> \d{{1,3}} ) (?: \*\* | __ )? (?P<close> [.)\]:．、）：] )
        (?= \s | \*\* | __ | \Z | [\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af] | \$ | \\[(\[] | (?-i: [A-Z] ) )
      | (?P<circled> [①-⑳] )
    )
    """,
    re.VERBOSE | re.MULTILINE | re.IGNORECASE,
)
# Behind "Step 1" where it is neither a heading nor bold: "Step 1 gives 5" marks no step.
_AFTER_STEP = re.compile(r"[ \t]*(?:\([^()\n]{1,80}\)[ \t]*)?[:：.)\]、]|\*\*|__|[ \t]+[-–—]|[ \t\r]*$", re.MULTILINE)
_SIGNS = re.compile(r"[ \t]*(#{1,6})(?!#)")
_CONCLUSION = re.compile(
    r"\W*(?:(?:so|thus|therefore|hence|finally|in conclusion|in summary|in total|overall|altogether)\b"
    r"|(?:the |our )?(?:final )?(?:answer|conclusion)\b|所以|因此|综上|答|最终|故|したがって|よって|以上)",
    re.IGNORECASE,
)
_FINAL_WORD = re.compile(r"Thus|Therefore|Finally|In conclusion|In summary|Overall|Altogether|因此|综上")
_ANSWER = re.compile(r"\b(?:answer|conclusion)\b|\\boxed|答案|答え|答[:：]", re.IGNORECASE)


@dataclass(frozen=True)
class Markers:
    """Positions of the numbered steps of a text.

    Attributes:
        starts: where each of their lines starts.
        named: whether they are called ``Step 1:`` or are headings, not just ``1.``.
    """

    starts: list[int]
    named: bool


def find_markers(text: str) -> Markers:
    """Finds the numbered steps of a text.

    ``Step 2:`` marks a step wherever such a line is; then plain numbers mark none. Otherwise a line's number (``2.``,
    ``2)``, ``(2)`` and the like) marks one if it is written like the first number, is indented no further, and follows
    the number before it, so that a list within a step, or a line that happens to start with a number, marks none.
    """
    cover = display_cover(text)
    matches = [match for match in _MARKER.finditer(text) if match.start() not in cover]
    steps = [match.start() for match in matches if _is_named_step(text, match)]
    if steps:
        return Markers(steps, named=True)
    numbers = _numbers_in_sequence([match for match in matches if match["number"] or match["circled"]])
    return Markers([match.start() for match in numbers], named=bool(numbers and numbers[0]["head"]))


def _is_named_step(text: str, match: re.Match[str]) -> bool:
    if match["han"]:
        return True
    return bool(match["step"]) and bool(match["head"] or match["bold"] or _AFTER_STEP.match(text, match.end()))


def _numbers_in_sequence(matches: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """The sequence that starts first; a longer one that starts after its end shows that it is a list in a preamble."""
    groups: dict[tuple[str | None, ...], list[re.Match[str]]] = defaultdict(list)
    for match in matches:
        style = ("①",) if match["circled"] else (match["open"], match["close"], "#" if match["head"] else "")
        groups[style].append(match)
    best: list[re.Match[str]] = []
    for chain in sorted(map(_chain, groups.values()), key=lambda chain: chain[0].start()):
        is_later = bool(best) and chain[0].start() > best[-1].start() and len(chain) > len(best)
        if not best or is_later or len(chain) > len(best) == 1:
            best = chain
    return best


def _chain(matches: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """The numbers that count on from the first; those in bold alone, if the others belong to lists between them."""
    every = _counting_on(matches)
    in_bold = _counting_on([match for match in matches if match["bold"]]) if matches[0]["bold"] else []
    return every if set(in_bold) <= set(every) else in_bold


def _counting_on(matches: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    first = matches[0]
    counting: list[re.Match[str]] = []
    for match in matches:
        if len(match["indent"]) <= len(first["indent"]) and _value(match) == _value(first) + len(counting):
            counting.append(match)
    return counting


def _value(match: re.Match[str]) -> int:
    return ord(match["circled"]) - ord("①") + 1 if match["circled"] else int(match["number"])


def segment_numbered(text: str) -> list[Span]:
    """A step from each marker to the next (see :func:`find_markers`); text before the first joins its step."""
    starts = [0, *find_markers(text).starts[1:], len(text)]
    return without_rules(text, strip_all(text, pairwise(starts)))


@dataclass(frozen=True)
class Outline:
    """A text whose steps are numbered, with what stands around them.

    Attributes:
        before: the steps before the first number.
        numbered: the numbered steps; a single line above the first belongs to it.
        after: the steps of the conclusion.
    """

    before: list[Span]
    numbered: list[Span]
    after: list[Span]

    @property
    def spans(self) -> list[Span]:
        """All steps in order."""
        return [*self.before, *self.numbered, *self.after]


def outline(text: str, starts: Sequence[int]) -> Outline:
    """The outline of a text with at least two markers.

    Paragraphs before the first number are steps. So are those of the conclusion, which is what stands after the last
    numbered step: all from a heading like those of the steps on, or all paragraphs where no step before has several;
    else a last paragraph such as "So the answer is 7.", or one that begins with "Therefore" or the like as no other
    paragraph does, and what begins with "So", "Thus" or the like where the last
    numbered step would have more paragraphs than any before it.
    """
    paragraphs = _paragraphs(text, starts)
    begins = [start for start, _ in paragraphs]
    first = max(bisect_right(begins, starts[0]) - 1, 0)
    before = paragraphs[:first]
    begin, lines = _preamble(text, begins[first], starts[0])
    while before and not lines and is_heading(text[slice(*before[-1])]):
        begin = before.pop()[0]
    before = without_marks(text, [*before, *lines]) if before or lines else []
    inner = max(_within(begins, marker, after) for marker, after in pairwise(starts))
    rest = paragraphs[bisect_right(begins, starts[-1]) :]
    others = paragraphs[first : len(paragraphs) - 1]
    rest = rest[_belonging(text, starts[-1], rest, inner, others) :]
    after = without_marks(text, rest) if rest else []
    stop = after[0][0] if after else len(text)
    numbered = without_rules(text, strip_all(text, pairwise([begin, *starts[1:], stop])))
    return Outline(before, numbered, after)


def _paragraphs(text: str, starts: Sequence[int]) -> list[Span]:
    """The paragraphs of a text; a heading is one with what it announces, if any numbered step but the last is more."""
    plain = join_final_answer(text, without_rules(text, find_paragraphs(text)))
    begins = [start for start, _ in plain]
    if any(_within(begins, marker, after) for marker, after in pairwise(starts)):
        return segment_paragraphs(text)
    return plain


def _within(begins: Sequence[int], marker: int, after: int) -> int:
    """Number of paragraphs that start within a step, besides that of its marker."""
    return bisect_left(begins, after) - bisect_right(begins, marker)


def _preamble(text: str, start: int, marker: int) -> tuple[int, list[Span]]:
    """Start of the first numbered step, and the steps above it in the paragraph of its marker.

    A single line, or a last one that ends in a colon, announces the numbered steps and belongs to the first.
    """
    lines = shifted(segment_lines(text[start:marker]), start) if start < marker else []
    if lines and (len(lines) == 1 or text[lines[-1][1] - 1] in ":："):
        return lines[-1][0], lines[:-1]
    return marker, lines


def _belonging(text: str, marker: int, rest: Sequence[Span], most: int, others: Sequence[Span]) -> int:
    """Number of paragraphs after that of the last marker that belong to its step.

    Args:
        text: the solution.
        marker: where the last marker starts.
        rest: the paragraphs.
        most: how many such paragraphs the other steps have at most.
        others: all paragraphs from the first marker on but the last.
    """
    level = _level(text, marker)
    for index, (start, _) in enumerate(rest):
        if 0 < _level(text, start) <= level:
            return index
    if not rest or not most:
        return next((i for i, paragraph in enumerate(rest) if not _goes_on(text, marker, paragraph)), len(rest))
    if _CONCLUSION.match(text, *rest[-1]) and _ANSWER.search(text, *rest[-1]):
        return len(rest) - 1
    word = _FINAL_WORD.match(text, *rest[-1])
    if word and not any(text.startswith(word[0], start) for start, _ in others):
        return len(rest) - 1
    for index, paragraph in enumerate(rest[most:], most):
        if _CONCLUSION.match(text, *paragraph) and not _goes_on(text, marker, paragraph):
            return index
    return len(rest)


def _level(text: str, start: int) -> int:
    """Level of the Markdown heading that starts at a place; 0 if none does."""
    match = _SIGNS.match(text, start)
    return len(match[1]) if match else 0


def _goes_on(text: str, marker: int, paragraph: Span) -> bool:
    """True if a paragraph is indented, or follows a colon and concludes nothing."""
    indented = paragraph[0] - (text.rfind("\n", 0, paragraph[0]) + 1) > 1
    announced = text[marker : paragraph[0]].rstrip().endswith((":", "："))
    return indented or (announced and not _CONCLUSION.match(text, *paragraph))
