"""The tokenizer of the world's language: one token a word, digit or sign, with the space before it."""

from __future__ import annotations

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from erprm.demo.dial.problems import BACK, FORWARD
from erprm.steps import StepFormat

PAD, END, UNKNOWN = "<pad>", "<end>", "<unk>"
RIGHT, WRONG = " right", " wrong"
# Reward models read what the base has learned to judge, but give their verdict in label tokens that are new to it.
# Every text of it stands here, so that the demo's tokens stay as they are whatever a format is by default.
STEP_FORMAT = StepFormat(
    tag=" ки",
    positive=" +",
    negative=" -",
    question_template="{question} Check it.",
    first_separator="\n",
    separator="\n",
)

_DIGITS = [str(digit) for digit in range(10)]
_WORDS = ["The", "dial", "is", "at", "it", "Where", "Check", *FORWARD, *BACK]
VOCABULARY = [
    PAD,
    END,
    UNKNOWN,
    " +",
    " -",
    " =",
    "\n",
    "####",
    ".",
    "?",
    RIGHT,
    WRONG,
    *_DIGITS,
    *(f" {digit}" for digit in _DIGITS),
    *_WORDS,
    *(f" {word}" for word in _WORDS),
    # Last, so that a model can be cut down to the language without it: no policy of the demo can write the tag.
    STEP_FORMAT.tag,
]


def make_tokenizer(*, with_tag: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer that is lossless on everything made of the vocabulary, in whatever order."""
    vocabulary = VOCABULARY if with_tag else VOCABULARY[:-1]
    words = sorted(vocabulary, key=len, reverse=True)
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(map(re.escape, words))), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, END, UNKNOWN)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
