"""Messages of failed commands: a few lines for a user's error, the traceback for a fault of the program."""

from __future__ import annotations

import dis
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from erprm.errors import UsageError, UserError, printable
from erprm.runs.signals import stop_on_signals

DEBUG_OPTION, DEBUG_VARIABLE = "--debug", "ERPRM_DEBUG"
_MOST_LINES, _MOST_CHARACTERS = 5, 500
# Libraries that read what a user gives them; errors of their own kinds are about that.
_READERS = {"binascii", "huggingface_hub", "json", "jsonargparse", "pyarrow", "safetensors", "yaml", "zlib"}
_MISCONFIGURATION = "lightning.fabric.utilities.exceptions"


def run(name: str, command: Callable[[], int], when_stopped: str = "") -> int:
    """Runs a command and says why it failed or was stopped, if so; when stopped, also how to go on.

    Returns:
        The exit status: 1 for an error of the user's, 128 + its number for a signal.

    Raises:
        SystemExit: with status 2 for a usage error, as parsers do.
        Exception: an error that is none of the user's.
    """
    with stop_on_signals() as received:
        try:
            return command()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not received:
                received.append(signal.SIGINT)  # not from a handler of this package
            if not (received or (isinstance(error, Exception) and is_of_the_user(error))):
                raise
            if is_debugging():
                traceback.print_exc()
            if received:
                # Whatever was raised comes of it: Lightning makes an exit of an interrupt.
                number = signal.Signals(received[0])
                what = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
                print(f"erprm {name}: {what}{when_stopped}", file=sys.stderr)
                return 128 + number
            print("\n".join(lines_of(error, f"erprm {name}: ")), file=sys.stderr)
            if isinstance(error, UsageError):
                raise SystemExit(2) from error
            return 1


def is_debugging() -> bool:
    """True if tracebacks are wanted: ``ERPRM_DEBUG`` is set, to anything but 0."""
    return os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


@contextmanager
def debugging(wanted: bool) -> Iterator[None]:
    """Shows every traceback, those of commands in child processes included, if that is wanted."""
    before = os.environ.get(DEBUG_VARIABLE)
    if wanted:
        os.environ[DEBUG_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(DEBUG_VARIABLE, None)
        else:
            os.environ[DEBUG_VARIABLE] = before


def is_of_the_user(error: Exception) -> bool:
    """True if an error is one that the user can correct.

    These are errors of :mod:`erprm.errors`; those of files and packages, and of libraries that read them; and what this
    package refuses by ``raise ValueError`` or ``raise TypeError``, as any library does. The same exceptions raised by
    something else are faults of the program.
    """
    if isinstance(error, UserError | OSError | UnicodeError | EOFError):
        return True
    if isinstance(error, ImportError):
        return (error.name or "").partition(".")[0] != "erprm"
    module = type(error).__module__
    if module.partition(".")[0] in _READERS or module == _MISCONFIGURATION:
        return True
    return isinstance(error, ValueError | TypeError) and is_refused_by(error, "erprm")


def is_refused_by(error: BaseException, package: str) -> bool:
    """True if the traceback of an error ends at a ``raise`` of a package, rather than at an operation that failed."""
    place = error.__traceback__
    if place is None:
        return False
    while place.tb_next is not None:
        place = place.tb_next
    module = str(place.tb_frame.f_globals.get("__name__"))
    code = place.tb_frame.f_code
    return module.partition(".")[0] == package and dis.opname[code.co_code[place.tb_lasti]] == "RAISE_VARARGS"


def lines_of(error: BaseException, prefix: str) -> list[str]:
    """Lines to print for a user's error: at most five, the cause last."""
    lines = printable(prefix + _message(error)).splitlines()
    lines = [
        line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]} ..." for line in lines if line.strip()
    ]
    if len(lines) > _MOST_LINES:
        left_out = len(lines) - _MOST_LINES + 1
        lines[1 : 1 + left_out] = [f"  ... ({left_out} more lines; {DEBUG_OPTION} shows them)"]
    return lines


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error) or type(error).__name__
