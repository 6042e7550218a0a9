r"""Steps of a solution: text <-> steps <-> token ids.

Every part of the package that turns a solution into tokens (training, scoring, export, serving) does it here, so a
step tag cannot tokenise one way in training and another way in scoring. With the preset ``er_prm`` the solution

    question  Janet has 3 apples and buys 4 more. How many has she?
    steps     ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]

is laid out as below; each line is one piece, tokenised by itself, so that a tag never merges with the text around it:

    Janet has 3 apples and buys 4 more. How many has she?
    ␣Step 1: 3 + 4 = 7.
    ␣ки                          <- tag: the model's next-token logits here are read at " +" and " -"
    ⏎Step 2: The answer is: 7
    ␣ки
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StepFormatError(ValueError):
    """A solution, or a tokenizer, that the step format cannot represent."""


@dataclass(frozen=True)
class Solution:
    """A question and the steps of one solution to it: what a step scorer scores."""

    question: str
    steps: Sequence[str]


# --------------------------------------------------------------------------------------------------------------------
# text -> steps


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
        """Where each step ends together with the separator after it: the start of the next step, or the text's end."""
        return (*(start for start, _ in self.spans[1:]), len(self.text)) if self.spans else ()

    @cached_property
    def separators(self) -> tuple[str, ...]:
        """What stands before, between and after the steps: one more than there are steps."""
        edges = [0, *(edge for span in self.spans for edge in span), len(self.text)]
        return tuple(self.text[edges[i] : edges[i + 1]] for i in range(0, len(edges), 2))


_FINAL_ANSWER_LINE = re.compile(r"[ \t]*####")
_BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")
_STEP_MARKER = re.compile(r"(?:^|\n|ки)\s*(?=Step\s+\d+\s*:)")
_TRAILING_TAG = re.compile(r"\s*ки\s*\Z")

Segments = list[tuple[int, int]]


def _segments_between(text: str, separator: re.Pattern[str]) -> Segments:
    edges = [0, *(edge for match in separator.finditer(text) for edge in match.span()), len(text)]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _segment_lines(text: str) -> Segments:
    """One step a line; the ``#### 42`` line that closes a GSM8K solution belongs to the step before it."""
    segments: Segments = []
    for start, stop in _segments_between(text, re.compile(r"\n")):
        if segments and _FINAL_ANSWER_LINE.match(text, start, stop):
            segments[-1] = (segments[-1][0], stop)
        elif text[start:stop].strip():
            segments.append((start, stop))
    return segments


def _segment_paragraphs(text: str) -> Segments:
    return _segments_between(text, _BLANK_LINES)


def _segment_math_shepherd(text: str) -> Segments:
    """A step from each ``Step i:`` to the next, without its `` ки``; text before the first marker joins its step."""
    starts = [0, *(match.end() for match in _STEP_MARKER.finditer(text))]
    if len(starts) > 1:
        del starts[1]
    segments: Segments = []
    for start, stop in zip(starts, [*starts[1:], len(text)], strict=True):
        tag = _TRAILING_TAG.search(text, start, stop)
        segments.append((start, tag.start() if tag else stop))
    return segments


STEP_STYLES: dict[str, Callable[[str], Segments]] = {
    "lines": _segment_lines,
    "math_shepherd": _segment_math_shepherd,
    "paragraphs": _segment_paragraphs,
}


def segment_steps(text: str, style: str) -> StepSplit:
    r"""Finds the steps of a text.

    Args:
        text: a solution.
        style: ``lines`` (GSM8K: one step a line, the ``#### 42`` line joins the last step), ``paragraphs`` (blank
            lines between steps) or ``math_shepherd`` (``Step 1: ... ки\nStep 2: ... ки``, the tags optional).

    Returns:
        The spans of the steps, stripped of surrounding white space; a blank text has none.

    Raises:
        ValueError: if ``style`` is unknown.
    """
    if style not in STEP_STYLES:
        raise ValueError(f"step style {style!r} is unknown; known are {', '.join(sorted(STEP_STYLES))}")
    spans = []
    for start, stop in STEP_STYLES[style](text):
        segment = text[start:stop]
        if stripped := segment.strip():
            start += len(segment) - len(segment.lstrip())
            spans.append((start, start + len(stripped)))
    return StepSplit(text, tuple(spans))


def split_steps(text: str, style: str) -> list[str]:
    r"""The texts of the steps that :func:`segment_steps` finds.

    >>> split_steps("3 + 4 = 7\n7 + 8 = 15\n#### 15", "lines")
    ['3 + 4 = 7', '7 + 8 = 15\n#### 15']
    """
    return list(segment_steps(text, style).steps)


# --------------------------------------------------------------------------------------------------------------------
# steps -> token ids


@dataclass(frozen=True)
class StepFormat:
    r"""How a question and its steps are laid out as tokens, and which tokens carry the labels.

    Attributes:
        tag: the step tag, put after each step; one token of the tokenizer.
        positive: label token of a good step; one token.
        negative: label token of a bad step; one token.
        question_template: text of the question; ``{question}`` stands for it.
        first_separator: text between the question and the first step.
        separator: text between a tag and the next step.
        add_tokens: add ``tag``, ``positive`` and ``negative`` as special tokens where the tokenizer splits them (the
            backbone's embedding then grows). Without it such a tokenizer is refused.
    """

    tag: str = " ки"
    positive: str = " +"
    negative: str = " -"
    question_template: str = "{question}"
    first_separator: str = " "
    separator: str = "\n"
    add_tokens: bool = False

    def __post_init__(self) -> None:
        for name in ("tag", "positive", "negative"):
            if not getattr(self, name):
                raise StepFormatError(f"step_format.{name} is empty; it must be a text of one token")
        if len({self.tag, self.positive, self.negative}) < 3:
            raise StepFormatError(
                f"step_format: tag {self.tag!r}, positive {self.positive!r} and negative {self.negative!r} "
                "must be three different tokens"
            )
        if "{question}" not in self.question_template:
            raise StepFormatError(
                f"step_format.question_template is {self.question_template!r}; it must contain {{question}}"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> StepFormat:
        """A named format, with some fields changed.

        Raises:
            ValueError: if there is no such preset.
        """
        if name not in STEP_FORMAT_PRESETS:
            raise ValueError(f"step format {name!r} is unknown; known are {', '.join(sorted(STEP_FORMAT_PRESETS))}")
        return replace(STEP_FORMAT_PRESETS[name], **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for a JSON file or a checkpoint."""
        return asdict(self)

    def pieces(self, solution: Solution) -> list[str]:
        """The texts that are tokenised one by one: the question, then each step with the separator before it."""
        separators = [self.first_separator] + [self.separator] * (len(solution.steps) - 1)
        question = self.question_template.replace("{question}", solution.question)
        return [question, *(sep + step for sep, step in zip(separators, solution.steps, strict=True))]

    def render(self, solution: Solution) -> str:
        """The whole solution as one text, a tag after each step."""
        question, *steps = self.pieces(solution)
        return question + "".join(step + self.tag for step in steps)

    def bind(self, tokenizer: PreTrainedTokenizerBase) -> StepEncoder:
        """This format on a tokenizer; ``add_tokens`` changes the tokenizer in place.

        Raises:
            StepFormatError: if the tag or a label is not one token.
        """
        return StepEncoder(self, tokenizer)


STEP_FORMAT_PRESETS: dict[str, StepFormat] = {"er_prm": StepFormat()}


@dataclass(frozen=True)
class EncodedSolution:
    """A solution as token ids.

    Attributes:
        input_ids: the tokens.
        tag_positions: index in ``input_ids`` of the tag of each kept step.
        dropped_steps: how many steps were cut from the end to fit the length limit.
        removed_tags: how many tags stood within the text itself and were left out.
    """

    input_ids: list[int]
    tag_positions: list[int]
    dropped_steps: int
    removed_tags: int


class StepEncoder:
    """A :class:`StepFormat` on one tokenizer.

    Attributes:
        tag_id: token id of the step tag.
        positive_id: token id of the good label.
        negative_id: token id of the bad label.
    """

    def __init__(self, step_format: StepFormat, tokenizer: PreTrainedTokenizerBase) -> None:
        self.step_format = step_format
        self.tokenizer = tokenizer
        self.tag_id = self._single_token("tag", step_format.tag)
        self.positive_id = self._single_token("positive", step_format.positive)
        self.negative_id = self._single_token("negative", step_format.negative)
        self._prefix = self._begin_of_sequence()

    def _single_token(self, field: str, text: str) -> int:
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        unknown = self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in ids
        if len(ids) != 1 or unknown:
            if not self.step_format.add_tokens:
                found = "is not in the vocabulary" if unknown else f"is {len(ids)} tokens ({ids})"
                raise StepFormatError(
                    f"step_format.{field} {text!r} {found} of tokenizer {self.tokenizer.name_or_path!r}, but must be "
                    "one token: choose a text that is one token there, or set step_format.add_tokens to true"
                )
            from transformers import AddedToken

            self.tokenizer.add_tokens([AddedToken(text, normalized=False, special=True)], special_tokens=True)
            ids = [self.tokenizer.convert_tokens_to_ids(text)]
        return int(ids[0])

    def _begin_of_sequence(self) -> list[int]:
        """What the tokenizer puts before a text of its own accord (Llama: its begin-of-text token)."""
        ids = self.tokenizer("")["input_ids"]
        return [int(token) for token in ids if token != self.tokenizer.eos_token_id][:1]

    def encode(self, solution: Solution, max_length: int | None = None) -> EncodedSolution:
        """One solution; see :meth:`encode_batch`."""
        return self.encode_batch([solution], max_length)[0]

    def encode_batch(self, solutions: Sequence[Solution], max_length: int | None = None) -> list[EncodedSolution]:
        """Tokenises solutions, all pieces in one call of the tokenizer.

        A tag within the text of a question or a step is left out, in training as in scoring, and counted: whoever
        wrote the text can neither add a step nor stop a run with it.

        Args:
            solutions: questions with their steps.
            max_length: the most tokens of a solution. Whole steps are dropped from the end to fit, never a part of a
                step; a solution of which not even the first step fits keeps no tag and no tokens, for the caller to
                count and leave out. ``None``: no limit.

        Raises:
            StepFormatError: if a solution has no step, or a step is blank.
        """
        pieces = [piece for solution in solutions for piece in self._checked_pieces(solution)]
        ids_of_piece = iter(self.tokenizer(pieces, add_special_tokens=False)["input_ids"]) if pieces else iter(())
        return [
            self._assemble([next(ids_of_piece) for _ in range(len(solution.steps) + 1)], max_length)
            for solution in solutions
        ]

    def _checked_pieces(self, solution: Solution) -> list[str]:
        if not solution.steps:
            raise StepFormatError(f"the solution of {solution.question[:60]!r} has no step")
        for number, step in enumerate(solution.steps, 1):
            if not step.strip():
                raise StepFormatError(f"step {number} of the solution of {solution.question[:60]!r} is blank")
        return self.step_format.pieces(solution)

    def _assemble(self, piece_ids: list[list[int]], max_length: int | None) -> EncodedSolution:
        question, *steps = [[token for token in ids if token != self.tag_id] for ids in piece_ids]
        removed_tags = sum(map(len, piece_ids)) - len(question) - sum(map(len, steps))
        input_ids = [*self._prefix, *question]
        tag_positions: list[int] = []
        for ids in steps:
            if max_length is not None and len(input_ids) + len(ids) + 1 > max_length:
                break
            input_ids += ids
            tag_positions.append(len(input_ids))
            input_ids.append(self.tag_id)
        dropped = len(steps) - len(tag_positions)
        return EncodedSolution(input_ids if tag_positions else [], tag_positions, dropped, removed_tags)
