"""Step styles by name, and the lossless split of a text by one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from erprm.lookup import imported
from erprm.steps.auto import segment_reasoning, segment_solution
from erprm.steps.numbered import segment_numbered
from erprm.steps.reasoning import split_reasoning
from erprm.steps.segmenters import (
    is_gsm8k_answer,
    prm800k_answer,
    segment_lines,
    segment_math_shepherd,
    segment_paragraphs,
)
from erprm.steps.sentences import segment_sentences, sentences_available
from erprm.steps.spans import Span, between, shifted, strip_all

REGEX_PREFIX = "regex:"


@dataclass(frozen=True)
class StepSplit:
    """The steps of a text as character spans; what lies between two spans is separator, so nothing is lost.

    Attributes:
        text: the whole text.
        spans: ``(start, stop)`` of each step in ``text``, in order, without overlap.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The text of each step."""
        return tuple(self.text[start:stop] for start, stop in self.spans)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """End of each step with the separator after it: the start of the next step, or the end of the text."""
        return (*(start for start, _ in self.spans[1:]), len(self.text)) if self.spans else ()

    @cached_property
    def separators(self) -> tuple[str, ...]:
        """Text before, between and after the steps: one more than there are steps."""
        edges = [0, *(edge for span in self.spans for edge in span), len(self.text)]
        return tuple(self.text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))


Segment = Callable[[str], list[Span]]


def _in_parts(segment: Segment, reasoning: Segment | None = None) -> Segment:
    """A style that is applied to each part of a text: to reasoning, and to the solution without its final answer."""

    def segment_parts(text: str) -> list[Span]:
        spans: list[Span] = []
        for part in split_reasoning(text):
            body = text[part.start : part.stop]
            found = (reasoning or segment)(body) if part.is_reasoning else _with_answer(segment, body)
            found = shifted(found, part.start)
            if spans and found and is_gsm8k_answer(text, found[0][0]):
                spans[-1] = (spans[-1][0], found.pop(0)[1])
            spans += found
        return spans or strip_all(text, [(0, len(text))])

    return segment_parts


def _with_answer(segment: Segment, text: str) -> list[Span]:
    """The steps of a text; a final answer as PRM800K writes it belongs to the last."""
    start = prm800k_answer(text)
    if start is None:
        return segment(text)
    spans = segment(text[:start])
    begin = spans[-1][0] if spans else start
    return [*spans[:-1], (begin, start + segment(text[start:])[-1][1])]


# An entry more is a style more; docs/steps.md says what a function must return.
STEP_STYLES: dict[str, Segment] = {
    "auto": _in_parts(segment_solution, segment_reasoning),
    "lines": _in_parts(segment_lines),
    "math_shepherd": segment_math_shepherd,
    "numbered": _in_parts(segment_numbered, segment_reasoning),
    "paragraphs": _in_parts(segment_paragraphs),
    "sentences": _in_parts(segment_sentences),
}


def check_step_style(style: str, setting: str = "step style") -> None:
    """Checks a style that is to be used later.

    Args:
        style: a key of :data:`STEP_STYLES`, the import path of a function, or ``regex:PATTERN``.
        setting: name of the setting, for the message.

    Raises:
        ValueError: naming the setting, if there is no such style, if the pattern is no regular expression, or if the
            style needs a library that is missing.
    """
    _segmenter(style, setting)


def _segmenter(style: str, setting: str) -> Segment:
    if style.startswith(REGEX_PREFIX):
        return _regex_segmenter(style, setting)
    if style in ("auto", "sentences") and not sentences_available():
        raise ValueError(
            f"{setting} is {style!r}, which needs the package nupunkt (Python 3.11 or later): pip install nupunkt"
        )
    return STEP_STYLES[style] if style in STEP_STYLES else _own_segmenter(style, setting)


def _own_segmenter(style: str, setting: str) -> Segment:
    known = ", ".join(sorted(STEP_STYLES))
    accepted = f"one of {known}, or {REGEX_PREFIX}PATTERN, or the import path of a function"
    segment: Segment = imported(style, setting, accepted, known=STEP_STYLES)
    if not callable(segment):
        raise ValueError(
            f"{setting} is {style!r}, which is {segment!r:.80} and cannot be called; it must be {accepted}"
        )
    return segment


def _regex_segmenter(style: str, setting: str) -> Segment:
    pattern = style.removeprefix(REGEX_PREFIX)
    if not pattern:
        raise ValueError(f"{setting} is {style!r}; after {REGEX_PREFIX} comes a pattern of what stands between steps")
    try:
        separator = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{setting} is {style!r}, which is not a regular expression: {error}") from error
    return lambda text: strip_all(text, between(text, (match.span() for match in separator.finditer(text))))


def segment_steps(text: str, style: str) -> StepSplit:
    r"""Finds the steps of a text.

    Args:
        text: a solution.
        style: one of

            - ``lines``: one step a line (GSM8K); the ``#### 42`` line belongs to the last step;
            - ``paragraphs``: what stands between blank lines;
            - ``numbered``: from one ``1. ``, ``2) `` or ``Step 2:`` to the next;
            - ``math_shepherd``: ``Step 1: ... ки\nStep 2: ... ки``, the tags optional;
            - ``sentences``: a sentence each;
            - ``regex:PATTERN``: what stands between matches of a Python regular expression;
            - ``auto``: what the style that :func:`erprm.steps.choose_style` finds in the text says; reasoning within
              ``<think>``, and what stands around numbered steps, is split by its paragraphs;
            - the import path of a function that returns the spans of a text.

    Returns:
        The spans of the steps, without surrounding white space (``paragraphs`` keeps spaces at the end of a step); a
        blank text has none.

    Raises:
        ValueError: if the style is unknown, see :func:`check_step_style`, or does not return spans in order, without
            overlap, each with more than white space in it.
    """
    spans = tuple(_segmenter(style, "step style")(text))
    _check_spans(text, spans, style)
    return StepSplit(text, spans)


def _check_spans(text: str, spans: tuple[Span, ...], style: str) -> None:
    end = 0
    for span in spans:
        if not end <= span[0] < span[1] <= len(text) or not text[slice(*span)].strip():
            raise ValueError(
                f"step style {style!r} returned the span {span} of a text of {len(text)} characters; spans must be in "
                "order, without overlap, within the text, and hold more than white space"
            )
        end = span[1]


def split_steps(text: str, style: str) -> list[str]:
    r"""The texts of the steps that :func:`segment_steps` finds.

    >>> split_steps("3 + 4 = 7\n7 + 8 = 15\n#### 15", "lines")
    ['3 + 4 = 7', '7 + 8 = 15\n#### 15']
    """
    return list(segment_steps(text, style).steps)
