"""Blocks of reasoning that a policy writes before its solution: ``<think> ... </think>``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = r"think|thinking|thoughts?|reasoning|scratchpad"
# Those of DeepSeek-R1 and Qwen, of Kimi, and of Sky-T1 among others.
_TAG = re.compile(
    rf"(?P<opens><(?:{_NAMES})>|◁think▷|<\|begin_of_thought\|>)"
    rf"|(?P<closes></(?:{_NAMES})>|◁/think▷|<\|end_of_thought\|>)"
    r"|<\|(?:begin|end)_of_solution\|>",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """A part of a text between the tags of reasoning, and whether it stands within a block of it."""

    start: int
    stop: int
    is_reasoning: bool


def split_reasoning(text: str) -> list[Part]:
    """The parts of a text, in order; the tags between them belong to none.

    A block that is never closed lasts to the end, as in a solution that was cut off. A closing tag without an opening
    one closes a block that began with the text, since some chat templates write the opening tag into the prompt.
    """
    parts = []
    start, within, closed = 0, False, False
    for match in _TAG.finditer(text):
        closes = bool(match["closes"])
        parts.append(Part(start, match.start(), within or (closes and not closed)))
        start, within, closed = match.end(), bool(match["opens"]), closed or closes
    parts.append(Part(start, len(text), within))
    return [part for part in parts if text[part.start : part.stop].strip()]
