"""User errors, which a command shows in a few lines; a fault of the program keeps its traceback.

Each kind is a built-in exception, too, so ``except ValueError`` around a call of this package catches what it names.
"""

from __future__ import annotations

__all__ = ["FailedRunError", "InputError", "MissingPackageError", "UsageError", "UserError"]


class UserError(Exception):
    """Something that the user can put right; the message says what it is, and what would be accepted."""


class UsageError(UserError):
    """Arguments or a configuration file that a command does not take."""


class InputError(UserError, ValueError):
    """A setting, a file, a row or a model that cannot be used."""


class FailedRunError(UserError, RuntimeError):
    """Something that the work depends on and that failed: a server, a process, a training."""


class MissingPackageError(UserError, ImportError):
    """A package that is needed and not installed."""


def printable(text: str) -> str:
    """Text of others for a message: without the control characters that take hold of a terminal; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
