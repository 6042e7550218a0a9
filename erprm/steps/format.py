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

:mod:`erprm.steps.fields` has the fields and their layout, :mod:`erprm.steps.encoder` the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from erprm.lookup import imported
from erprm.steps.encoder import StepEncoder
from erprm.steps.fields import StepFormatFields
from erprm.steps.solution import StepFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class StepFormat(StepFormatFields):
    """Layout of a question and its steps as tokens, and the choice of tokens that carry the labels.

    The fields are those of :class:`~erprm.steps.fields.StepFormatFields`.
    """

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
