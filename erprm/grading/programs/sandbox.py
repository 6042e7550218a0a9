"""Starts programs in a sandbox, each in an interpreter of its own, and reads what they answer."""

from __future__ import annotations

import contextlib
import itertools
import marshal
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from erprm.errors import FailedRunError, printable

Isolation = Literal["required", "limits"]

# A program has `timeout_s` of processor time, and this many times as much wall time where the machine is busy.
WALL_TIME_FACTOR = 2.0
START_UP_S = 300.0
DISK_MB = 16
LONGEST_REFUSAL = 4096

_HERE = Path(__file__).parent


class SandboxError(FailedRunError):
    """A sandbox that this machine refuses; the message says what failed and what would help."""


@dataclass(frozen=True)
class Sandbox:
    """Limits of a program.

    Attributes:
        timeout_s: processor time, in seconds, and half of the wall time.
        memory_mb: address space, in MiB.
        isolation: ``required``, or ``limits`` for a program that sees the files of this machine.
    """

    timeout_s: float
    memory_mb: int
    isolation: Isolation

    def answers(self, program: str, calls: Sequence[str], longest: int) -> list[str]:
        """Runs a program to its end; see `erprm.grading.programs.run_tests`.

        Returns:
            One text a call, empty where there is none: after the program has ended, or from the end of its time on.

        Raises:
            SandboxError: the sandbox cannot be entered.
        """
        with self._folder() as folder:
            request = {
                "program": program,
                "calls": list(calls),
                "longest": longest,
                "folder": folder,
                "visible": _visible(),
                "runs": str(_HERE / "run_tests.py"),
                "cpu_s": math.ceil(self.timeout_s),
                "wall_s": WALL_TIME_FACTOR * self.timeout_s,
                "memory_mb": self.memory_mb,
                "disk_mb": DISK_MB,
            }
            most = LONGEST_REFUSAL + len(calls) * (longest + 1)
            reply = _exchange(marshal.dumps(request), most, START_UP_S + WALL_TIME_FACTOR * self.timeout_s)
        ready, _, lines = reply.decode("ascii", "replace").partition("\n")
        if ready != "ready":
            raise SandboxError(self._refusal(reply.decode("utf-8", "replace").strip().rpartition("\n")[2]))
        answers = lines.split("\n")[:-1][: len(calls)]  # an unfinished line is none
        return answers + [""] * (len(calls) - len(answers))

    @contextlib.contextmanager
    def _folder(self) -> Iterator[str | None]:
        """A folder to work in; in namespaces of its own a program has one that exists nowhere else."""
        if self.isolation == "required":
            yield None
        else:
            folder = tempfile.mkdtemp(prefix="erprm-")
            try:
                yield folder
            finally:
                with contextlib.suppress(OSError):
                    _delete(Path(folder))

    def _refusal(self, why: str) -> str:
        what = f"programs cannot be isolated on this machine: {printable(why) or 'the sandbox ended at once'}"
        if self.isolation == "limits":
            return f"{what}. It takes Linux on x86_64 or aarch64 with seccomp."
        return (
            f"{what}. It takes Linux 5.12 on x86_64 or aarch64 that lets users make namespaces; containers and Ubuntu "
            "24.04 forbid that unless told otherwise (see docs/grading.md). isolation: limits does without, but then "
            "programs can read and write the files of this user"
        )


def _exchange(request: bytes, most: int, seconds: float) -> bytes:
    """Sends a request to a new process, and returns its reply once it ends, has said so much, or was given so long."""
    libraries = {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", str(_HERE / "enter_sandbox.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd="/",
        env=libraries,  # without them some interpreters do not start; the program does not see them
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    reply, deadline = b"", time.monotonic() + seconds
    arrived = select.poll()  # unlike `select.select` it takes descriptors beyond 1024
    arrived.register(process.stdout, select.POLLIN)
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(request)
        while len(reply) < most and arrived.poll(max(0.0, deadline - time.monotonic()) * 1000):
            chunk = os.read(process.stdout.fileno(), min(65536, most - len(reply)))
            if not chunk:
                break
            reply += chunk
        return reply
    finally:
        process.stdin.close()  # it kills the program, and ends
        process.wait()
        process.stdout.close()


def _delete(folder: Path) -> None:
    """Deletes a folder that a program has filled; however deep it has nested others, the time is linear."""
    if folder.is_symlink():
        folder.unlink()
        return
    waiting = [folder]
    for number in itertools.count():
        if not waiting:
            return
        current = waiting.pop()
        current.chmod(0o700)
        for entry in list(current.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                entry.chmod(0o700)
                waiting.append(entry.rename(f"{folder}.{number}.{len(waiting)}"))
            else:
                entry.unlink()
        current.rmdir()


def _visible() -> dict[str, str | None]:
    """All that a program sees of this machine: the standard library, and what its extension modules are linked to.

    Returns:
        What each path is, parents first: a folder or file of this machine, the target of a link, or None for a folder
        that holds nothing but what is named here.
    """
    found: dict[str, str | None] = {}
    prefixes = ("/usr", "", sys.base_prefix, sys.base_exec_prefix)
    for path in [*(Path(f"{prefix}/{name}") for prefix in prefixes for name in ("lib", "lib64")), Path("/dev/null")]:
        if not path.exists() or any(found.get(str(above)) for above in (path, *path.parents)):
            continue
        for above in list(path.parents)[-2::-1]:
            found.setdefault(str(above), None)
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        else:
            found[str(path)] = "folder" if path.is_dir() else "file"
    return found
