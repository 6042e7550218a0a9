"""A solution as a scorer gets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erprm.errors import InputError


class StepFormatError(InputError):
    """A solution, or a tokenizer, that the step format cannot represent."""


@dataclass(frozen=True)
class Solution:
    """A question and the steps of one solution to it: what a step scorer scores."""

    question: str
    steps: Sequence[str]
