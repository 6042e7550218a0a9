"""Locks: one command at a time writes into a folder or a file.

A lock is a hidden file that its holder keeps locked by ``flock``, so the lock ends with the process, however that ends.
The file names the holder, for the message that refuses a second command; ``filelock`` would empty it on refusal.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from erprm.errors import InputError
from erprm.runs.atomic import remove_leftovers

log = logging.getLogger(__name__)

_LONGEST_COMMAND = 200


class InUseError(InputError):
    """Another command is writing into the same folder or file; the message names its process and its command."""


@contextmanager
def sole_use(folder: Path, part: str | None = None) -> Iterator[int]:
    """Keeps other commands out of a folder while the block lasts.

    Args:
        folder: created if it does not exist.
        part: ``i-of-n``, for one of several commands that share the work: the other parts of ``n`` may be in the folder
            at the same time.

    Yields:
        The lock's file descriptor; a child that inherits it holds on to the folder.

    Raises:
        InUseError: if another command is in it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / (".lock" if part is None else f".lock-{part}")
    fellows = None if part is None else part[part.index("-of-") :]
    try:
        with _held(own, str(folder)) as descriptor:
            for other in sorted(folder.glob(".lock*")):
                if other != own and not (fellows and other.name.endswith(fellows)):
                    _refuse_if_held(other, str(folder))
            yield descriptor
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keeps other commands from writing a file, and removes what killed ones have left of it.

    Args:
        path: the file, or a folder. What is written beside it under its name with something behind it belongs to it.

    Raises:
        InUseError: if another command is writing it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _held(path.with_name(f".{path.name}.lock"), str(path)):
        remove_leftovers(path.parent, f"{path.name}*")
        yield


@contextmanager
def _held(file: Path, subject: str) -> Iterator[int]:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, file, subject)
            # Its last holder may have removed the file before this one locked it.
            if file.exists() and os.path.samestat(os.fstat(descriptor), file.stat()):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    try:
        with suppress(OSError):  # a full disk: the lock holds anyway
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_this_process()).encode())
        yield descriptor
    finally:
        with suppress(OSError):
            file.unlink()
        os.close(descriptor)


def _refuse_if_held(file: Path, subject: str) -> None:
    with suppress(FileNotFoundError), file.open("rb") as opened:
        _lock(opened.fileno(), file, subject, shared=True)


def _lock(descriptor: int, file: Path, subject: str, *, shared: bool = False) -> None:
    try:
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUseError(
            f"{subject} is in use by {_holder(file)}; wait for it to end, or give another place"
        ) from error
    except (ImportError, OSError) as error:  # Windows, or a file system without locks
        log.warning("%s cannot be locked here (%s): see to it that no second command writes into it", subject, error)


def _this_process() -> dict[str, str | int]:
    program = "erprm" if Path(sys.argv[0]).name == "__main__.py" else Path(sys.argv[0]).name
    command = " ".join(shlex.join([program, *sys.argv[1:]]).split())
    return {"process": os.getpid(), "host": socket.gethostname(), "command": command[:_LONGEST_COMMAND]}


def _holder(file: Path) -> str:
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        where = "" if held["host"] == socket.gethostname() else f" on {held['host']}"
        return f"process {held['process']}{where} ({held['command']})"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
