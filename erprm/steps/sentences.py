r"""Sentences as steps.

nupunkt decides where a sentence ends, in a text in which every block (code, formula, table) has become one word of the
same length. This module adds what it cannot know about solutions:

- blank lines, list items and headings end a sentence, whether or not a full stop does;
- a formula set apart by blank lines belongs to the sentence before it, and that one goes on after it if it goes on in
  lower case;
- the number of a list item (``2.``) is no sentence of its own, and neither is the final answer (``#### 42``);
- Chinese and Japanese sentences end in ``。``, ``！`` or ``？`` without a space after it.
"""

from __future__ import annotations

import importlib.util
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from erprm.steps.blocks import Block, find_blocks
from erprm.steps.headings import without_marks
from erprm.steps.segmenters import join_final_answer
from erprm.steps.spans import Span, strip_all

_LINE_BREAKS = re.compile(r"(?<![ \t\r])[ \t\r]*\n\s*")
_NEXT_WORD = re.compile(r"\s*([^\W\d_])")
_ITEM = re.compile(r"[ \t]*(?:[-*+•][ \t]|\(?\d{1,3}[.)][ \t]|\#{1,6}[ \t]|\*{0,2}Step[ \t]+\d)")
_NUMBER = re.compile(r"\(?\d{1,3}[.)]\Z")
_CJK = r"\u3040-\u30ff\u3400-\u9fff"
# A full stop between digits is a decimal point, an exclamation mark before an operator a factorial.
_CJK_STOP = re.compile(
    rf"(?:[。｡？]|！(?!\s*[=＝+×÷*/^)）-])|．(?!\d)|[.?](?=[{_CJK}]))[。｡！？]*(?P<closers>[」』”’）】》〉\"')\]]*)"
)
_CJK_QUOTED = re.compile(
    r"「[^「」\n]{0,400}」|『[^『』\n]{0,400}』|（[^（）\n]{0,400}）|“[^“”\n]{0,400}”|【[^【】\n]{0,400}】|《[^《》\n]{0,400}》"
)
_CJK_GOES_ON = re.compile(r"[とのがをはにでもへや，、,；;：:]")
_STOP_BEFORE_DELIMITER = re.compile(r"([.?!])\s*(?:\$\$?|\\[])]|\\end\{[A-Za-z]+\*?\})\Z")


@cache
def sentences_available() -> bool:
    """True if the library that finds sentences is installed."""
    return importlib.util.find_spec("nupunkt") is not None


def segment_sentences(text: str) -> list[Span]:
    """A step a sentence.

    Raises:
        ModuleNotFoundError: if nupunkt is not installed.
    """
    import nupunkt

    blocks = find_blocks(text)
    words = _blocks_as_words(text, blocks)
    cuts = {stop for _, stop in nupunkt.sent_spans(words)}
    cuts |= {*_cuts_by_layout(words, blocks), *_cuts_without_spaces(words)}
    edges = [0, *sorted(cuts - {0, len(text)}), len(text)]
    spans: list[Span] = []
    after_number = False
    for start, stop in strip_all(text, pairwise(edges)):
        if after_number:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
        after_number = bool(_NUMBER.match(text, start, stop))
    return without_marks(text, join_final_answer(text, spans))


def _blocks_as_words(text: str, blocks: list[Block]) -> str:
    """The text with a word in place of each block; one that ends in a full stop ends its sentence."""
    parts, place = [], 0
    for block in blocks:
        word = "X" + "x" * (block.stop - block.start - 1)
        end = _STOP_BEFORE_DELIMITER.search(text, max(block.start, block.stop - 80), block.stop)
        if end and not _goes_on(text, block.stop):
            word = word[:-1] + end[1]
        parts += [text[place : block.start], word]
        place = block.stop
    return "".join([*parts, text[place:]])


def _goes_on(text: str, place: int) -> bool:
    """True if the sentence goes on: the next word is in lower case."""
    match = _NEXT_WORD.match(text, place)
    return match is not None and match[1].islower()


def _cuts_by_layout(words: str, blocks: list[Block]) -> Iterator[int]:
    """Positions where a line break, or a displayed formula right before another sentence, ends a sentence."""
    starts = {block.start for block in blocks if block.display}
    stops = {block.stop for block in blocks if block.display}
    for match in _LINE_BREAKS.finditer(words):
        start, stop = match.span()
        if stop == len(words) or stop in starts:
            continue
        last_line = match[0].rindex("\n") + 1 + start
        if start in stops:
            ends = not _goes_on(words, stop)
        else:
            ends = match[0].count("\n") > 1 or bool(_ITEM.match(words, last_line))
        if ends:
            yield stop
    for stop in stops:
        if words[stop - 1] in ".?!" and words[stop : stop + 1].isupper():
            yield stop


def _cuts_without_spaces(words: str) -> Iterator[int]:
    """Ends of Chinese or Japanese sentences; within quotation marks none ends, unless the quotation ends with it."""
    quoted = [match.span() for match in _CJK_QUOTED.finditer(words)]
    starts = [start for start, _ in quoted]
    for match in _CJK_STOP.finditer(words):
        index = bisect_right(starts, match.start()) - 1
        stop = quoted[index][1] if index >= 0 else 0
        is_quoted = match.start() < stop
        if not is_quoted or (match.end() >= stop and not _CJK_GOES_ON.match(words, match.end())):
            yield match.end()
