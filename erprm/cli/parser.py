"""Argument parsers that refuse an unknown key in a few lines and suggest a known key that resembles it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from erprm.errors import UsageError

# jsonargparse 4.48 names an unknown key in one of these ways.
_UNKNOWN_KEY = re.compile(
    r"(?:Key|Option) '(?P<key>[\w.]+)' is not (?:expected|accepted)"
    r"|does not accept option '(?P<option>[\w.]+)'"
    r"|[Uu]nrecognized arguments: --(?P<argument>[\w.]+)"
)
# Lines of its messages that repeat what other lines say, or show its own objects.
_NOISE = re.compile(
    r"Does not validate against any of the Union subtypes$|Subtypes: |Errors:$|- Expected a <class '[^']*'>$"
    r"|Given value type: |Given value: "
)


class ShortErrors(ArgumentParser):
    """A parser whose errors are :class:`UsageError`, and which takes no abbreviated keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what :class:`jsonargparse.ArgumentParser` takes."""
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def known_keys(self) -> set[str]:
        """The keys that an unknown one is compared with."""
        return set()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuses the arguments.

        Raises:
            UsageError: with the message.
        """
        if not self.exit_on_error:
            super().error(message, ex)  # an inner parser, whose error becomes a part of the outer one's
        raise UsageError(with_suggestion(without_noise(message), self.known_keys())) from ex


def without_noise(message: str) -> str:
    """A message of jsonargparse's, without the lines that do not help."""
    lines = message.splitlines()
    kept = [line for line in lines if not _NOISE.match(line.strip())]
    return "\n".join(kept if len(kept) > 1 else lines)


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
