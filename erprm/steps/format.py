r"""Step formats by name, and bound to a tokenizer.

With the preset ``er_prm`` the solution

    question  Janet has 3 apples and buys 4 more. How many has she?
    steps     ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]

is laid out as below; each line is one piece, tokenised by itself, so that a tag never merges with the text around it:

    Janet has 3 apples and buys 4 more. How many has she?
    ␣Step 1: 3 + 4 = 7.
    ␣ки                          <- tag: the model's next-token logits here are read at " +" and " -"
    Step 2: The answer is: 7
    ␣ки

:mod:`erprm.steps.encoder` has the tokens.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from erprm.lookup import imported
from erprm.steps.chat import CHAT_DATE, warn_of_date
from erprm.steps.encoder import StepEncoder
from erprm.steps.layout import Layout, alternating_turns, layout_prints_date, reply_turns
from erprm.steps.solution import Solution, StepFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class StepFormat:
    r"""Layout of a question and its steps as tokens, and the choice of tokens that carry the labels.

    Attributes:
        tag: the step tag, put after each step; the model is read at its last token.
        positive: label token of a good step; one token. Null, with ``negative``: the labels are no tokens but the two
            classes of a head, bad and good in this order.
        negative: label token of a bad step; one token.
        question_template: text of the question; ``{question}`` stands for it.
        first_separator: text between the question and the first step.
        separator: text between a tag and the next step.
        add_tokens: add ``tag``, ``positive`` and ``negative`` as special tokens where the tokenizer splits them (the
            backbone's embedding then grows). Without it such a tokenizer is refused.
        tag_is_token: the tag must be one token, and is left out where a question or a step contains it. Without it the
            tag is a text of any number of tokens, which steps may contain.
        chat: how the tokenizer's own chat template goes around the solution. ``reply``: the question is the user's
            turn, the steps are the assistant's. ``turns``: each step is a turn of the user, the question before the
            first, and its label the assistant's answer, read where that begins; the template then gives ``tag`` and
            ``separator``, which must be empty.
        system: the system message of the chat; null for what the chat template does without one.
        standalone_pieces: tokenise each piece as if it were a whole text. Where a tokenizer puts a space before every
            text (SentencePiece), it then stands before every piece.
        force_bos: begin with the tokenizer's begin-of-sequence token even where the tokenizer itself does not.
        whole_text: tokenise the solution as one text instead of piece by piece, as the code of published checkpoints
            does: tokens may then reach over the end of a piece. A solution that would lose a tag, or holds one
            in its text, is tokenised piece by piece anyway.
        chat_date: what the chat template prints as today's date, if it prints one, YYYY-MM-DD; null: 2024-07-26. It is
            saved with the model, whose scores are then the same on any day.
    """

    tag: str = " ки"
    positive: str | None = " +"
    negative: str | None = " -"
    question_template: str = "{question}"
    first_separator: str = " "
    separator: str = ""
    add_tokens: bool = False
    tag_is_token: bool = True
    chat: Literal["reply", "turns"] | None = None
    system: str | None = None
    standalone_pieces: bool = False
    force_bos: bool = False
    whole_text: bool = False
    chat_date: str | None = None

    @classmethod
    def preset(cls, name: str, **changes: Any) -> StepFormat:
        """A named format, with some fields changed.

        Args:
            name: a key of :data:`STEP_FORMAT_PRESETS`, or the import path of a :class:`StepFormat`.
            changes: fields that differ.

        Raises:
            ValueError: if there is no such preset, or no step format at the import path.
        """
        if name in STEP_FORMAT_PRESETS:
            return replace(STEP_FORMAT_PRESETS[name], **changes)
        accepted = f"one of {', '.join(sorted(STEP_FORMAT_PRESETS))}, or the import path of a StepFormat"
        found = imported(name, "step format", accepted, known=STEP_FORMAT_PRESETS)
        if not isinstance(found, StepFormat):
            raise ValueError(
                f"step format is {name!r}, which is {found!r:.80} and no StepFormat; it must be {accepted}"
            )
        return replace(found, **changes)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> StepFormat:
        """The format that :meth:`to_dict` gave; fields that an earlier release did not write have their defaults.

        Raises:
            StepFormatError: if there is a field that this release does not know, or a value of another type.
        """
        for name, value in saved.items():
            if name not in _DEFAULTS:
                raise StepFormatError(f"step_format has no field {name!r}; it has {', '.join(_DEFAULTS)}")
            expected = bool if isinstance(_DEFAULTS[name], bool) else str
            if not isinstance(value, expected) and not (value is None and name in _MAY_BE_NULL):
                raise StepFormatError(f"step_format.{name} is {value!r}; it must be of type {expected.__name__}")
        return cls(**saved)

    def bind(self, tokenizer: PreTrainedTokenizerBase) -> StepEncoder:
        """This format on a tokenizer; ``add_tokens`` changes the tokenizer in place.

        Raises:
            StepFormatError: if the tag or a label is not one token.
        """
        return StepEncoder(self, tokenizer)

    def __post_init__(self) -> None:
        self._check_tag()
        self._check_labels()
        if self.question_template.count("{question}") != 1:
            raise StepFormatError(
                f"step_format.question_template is {self.question_template!r}; it must contain {{question}} once"
            )
        if self.whole_text and self.standalone_pieces:
            raise StepFormatError("step_format.whole_text and standalone_pieces are both true; only one can be")
        if self.chat not in (None, "reply", "turns"):
            raise StepFormatError(f"step_format.chat is {self.chat!r}; it must be reply, turns or null")
        if self.system is not None and self.chat is None:
            raise StepFormatError(f"step_format.system is {self.system!r}; without step_format.chat it must be null")
        self._check_date()

    def _check_date(self) -> None:
        if self.chat_date is None:
            return
        if self.chat is None:
            raise StepFormatError(
                f"step_format.chat_date is {self.chat_date!r}; without step_format.chat it must be null"
            )
        try:
            datetime.date.fromisoformat(self.chat_date)
        except (TypeError, ValueError) as error:
            raise StepFormatError(
                f"step_format.chat_date is {self.chat_date!r}; it must be a date such as {CHAT_DATE}"
            ) from error

    def _check_tag(self) -> None:
        if self.chat == "turns":
            for name in ("tag", "separator"):
                if getattr(self, name):
                    raise StepFormatError(
                        f"step_format.{name} is {getattr(self, name)!r}; with chat: turns the chat template gives it, "
                        "so it must be empty"
                    )
            if self.tag_is_token or self.positive is None:
                raise StepFormatError("step_format.chat is 'turns'; it needs tag_is_token: false, and label tokens")
        elif not self.tag:
            raise StepFormatError("step_format.tag is empty; it must be a text of one token")

    def _check_labels(self) -> None:
        if self.positive is None and self.negative is None:
            return
        for name in ("positive", "negative"):
            if not getattr(self, name):
                raise StepFormatError(
                    f"step_format.{name} is {getattr(self, name)!r}; it must be a text of one token, or both null"
                )
        if len({self.tag, self.positive, self.negative}) < 3:
            raise StepFormatError(
                f"step_format: tag {self.tag!r}, positive {self.positive!r} and negative {self.negative!r} "
                "must be three different tokens"
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for a JSON file or a checkpoint; ``chat_date`` only where there is one."""
        fields = asdict(self)
        if self.chat_date is None:
            del fields["chat_date"]  # So what was saved, or made a key, before there was such a field stays the same.
        return fields

    def dated(self, tokenizer: PreTrainedTokenizerBase) -> StepFormat:
        """This format with the date that the tokenizer's chat template prints as today's, if it prints one.

        Raises:
            StepFormatError: if a chat template is needed and there is none.
        """
        if self.chat is None or self.chat_date is not None or not layout_prints_date(tokenizer, self.system):
            return self
        warn_of_date(tokenizer.name_or_path, "; step_format.chat_date sets another")
        return replace(self, chat_date=CHAT_DATE)

    def layout(self, tokenizer: PreTrainedTokenizerBase | None = None) -> Layout:
        """The texts that stand around the question and the steps.

        Args:
            tokenizer: whose chat template it is; not needed where ``chat`` is null.

        Raises:
            StepFormatError: if a chat template is needed and there is none, or it does not render turns one by one.
        """
        before, after = self.question_template.split("{question}")
        if self.chat is None:
            return Layout(before, after, self.first_separator, self.separator, self.tag)
        if tokenizer is None:
            raise StepFormatError(f"step_format.chat is {self.chat!r}; the layout needs a tokenizer's chat template")
        date = self.chat_date or CHAT_DATE
        if self.chat == "reply":
            turns = reply_turns(tokenizer, self.system, date)
            head, middle, _ = turns.around
            return Layout(
                head + before,
                after + middle,
                self.first_separator,
                self.separator,
                self.tag,
                strip_turn=turns.strips,
            )
        turns = alternating_turns(tokenizer, self.system, date)
        head, tag, separator, *_ = turns.around
        # A label in the history is always the good one, as in RLHFlow's evaluation.
        separator = f"{self.positive}{separator}"
        return Layout(
            head + before,
            after,
            self.first_separator,
            separator,
            tag,
            strip_steps=True,
            strip_turn=turns.strips,
        )

    def render(self, solution: Solution, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
        """The whole solution as one text, a tag after each step; see :meth:`layout` for the tokenizer."""
        return self.layout(tokenizer).render(solution)


# Where each comes from, and what differs from there: docs/steps.md. An entry more is a preset more.
STEP_FORMAT_PRESETS: dict[str, StepFormat] = {
    "er_prm": StepFormat(),
    "math_shepherd": StepFormat(separator="\n"),
    "rlhflow": StepFormat(tag="", positive="+", negative="-", tag_is_token=False, chat="turns"),
    "qwen_prm": StepFormat(
        tag="<extra_0>",
        positive=None,
        negative=None,
        first_separator="",
        chat="reply",
        system="Please reason step by step, and put your final answer within \\boxed{}.",
    ),
    "trl": StepFormat(
        tag="\n",
        positive=None,
        negative=None,
        first_separator="",
        tag_is_token=False,
        standalone_pieces=True,
        force_bos=True,
    ),
}

_DEFAULTS = asdict(StepFormat())
_MAY_BE_NULL = {"positive", "negative", "chat", "system", "chat_date"}
