"""Chats as text by a tokenizer's own template, with a date that does not change from day to day."""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from erprm.steps.solution import StepFormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

CHAT_DATE = "2024-07-26"
"""Date given to templates that print today's date: Llama 3's own templates fall back to it without a clock."""

Messages = Sequence[dict[str, str]]


class _Clock:
    """Stands in for the ``strftime_now`` of transformers' templates; notes whether it was asked."""

    def __init__(self, date: str) -> None:
        self._now = datetime.datetime.fromisoformat(date)
        self.asked = False

    def __call__(self, form: str) -> str:
        self.asked = True
        return self._now.strftime(form)


def render_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, date: str = CHAT_DATE, *, answer_follows: bool = False
) -> str:
    """A chat as text.

    Args:
        tokenizer: whose template it is.
        messages: the turns, each with ``role`` and ``content``.
        date: what the template prints as today's date, YYYY-MM-DD.
        answer_follows: end where the assistant's answer starts.

    Raises:
        StepFormatError: if the template fails, or refuses these turns; it runs in a sandbox, which it cannot leave.
    """
    return _rendered(tokenizer, messages, _Clock(date), answer_follows)


def prints_date(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> bool:
    """True if a tokenizer's template prints today's date, or the time, in such a chat."""
    _rendered(tokenizer, messages, clock := _Clock(CHAT_DATE), answer_follows=False)
    return clock.asked


@functools.cache
def warn_of_date(tokenizer: str, remedy: str = "") -> None:
    """Tells, once for a tokenizer, that its template prints a date."""
    log.warning(
        "the chat template of tokenizer %r prints today's date; it is given %s on any day%s",
        tokenizer,
        CHAT_DATE,
        remedy,
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Messages, clock: _Clock, answer_follows: bool) -> str:
    # A name that the template does not know may be refused by a tokenizer of another library.
    known: dict[str, Any] = {"strftime_now": clock} if "strftime_now" in str(tokenizer.chat_template) else {}
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=answer_follows, **known
        )
    except Exception as error:  # a template is a program, and may fail in any way
        raise StepFormatError(
            f"the chat template of tokenizer {tokenizer.name_or_path!r} fails: {type(error).__name__}: {error}"
        ) from error
    return str(text)
