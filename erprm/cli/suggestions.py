"""Adds to the error about an unknown key the known key it resembles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# jsonargparse 4.48 names an unknown key in one of these ways.
_UNKNOWN_KEY = re.compile(
    r"(?:Key|Option) '(?P<key>[\w.]+)' is not (?:expected|accepted)"
    r"|does not accept option '(?P<option>[\w.]+)'"
    r"|[Uu]nrecognized arguments: --(?P<argument>[\w.]+)"
)


def with_suggestion(message: str, known_keys: Iterable[str]) -> str:
    """The message, with a suggestion behind it where it names an unknown key close to a known one.

    Args:
        message: the error.
        known_keys: full dotted names, such as ``data.eta``.
    """
    match = _UNKNOWN_KEY.search(message)
    if match is None:
        return message
    unknown = next(group for group in match.groups() if group)
    close = difflib.get_close_matches(unknown.rpartition(".")[2], {key.rpartition(".")[2] for key in known_keys}, n=1)
    return f"{message}\n  did you mean {close[0]!r}?" if close else message
