"""A process that judges one pair of answers a line, until its input ends.

Protocol, one JSON object a line: one is written when the process is ready, with the key `error` if it cannot be; then,
for every `[gold, prediction, seconds]` read, one with `equal` or `error`.

The process ends itself: with SIGPROF when a pair has had its processor time, with SIGALRM when `seconds` of wall time
are over (the kernel delivers both whatever sympy is doing, and whether or not the parent still lives), by its memory
limit, and at the end of its input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from erprm.runs.signals import STOPPING

# Audit events, by prefix: processes, sockets and changes to files.
_FORBIDDEN_EVENTS = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "subprocess.", "pty.", "ctypes."),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.link", "os.symlink"),
    *("os.putenv", "shutil.", "socket.", "webbrowser.", "urllib.", "ftplib.", "smtplib."),
)


def _refuse_side_effects(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: grading starts no process, opens no socket and writes no file."""
    if event.startswith(_FORBIDDEN_EVENTS):
        raise PermissionError(f"grading never does {event}")
    if event == "open":
        _, mode, flags = arguments
        writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes:
            raise PermissionError(f"grading never writes files: {arguments[0]!r}")


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _set_timers(processor_s: float, wall_s: float) -> None:
    if hasattr(signal, "setitimer"):  # on Windows the parent's deadline is the only one
        signal.setitimer(signal.ITIMER_PROF, processor_s)
        signal.setitimer(signal.ITIMER_REAL, wall_s)


def _reply(replies: TextIO, outcome: Mapping[str, bool | str]) -> None:
    print(json.dumps(outcome), file=replies, flush=True)


def serve() -> None:
    """Serves pairs from standard input.

    Arguments of the process: processor time for one pair in seconds, and its address space in MiB (1024 * 1024 bytes).
    """
    timeout_s, memory_mb = float(sys.argv[1]), int(sys.argv[2])
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # a library that prints must not garble the replies
    for number in STOPPING:  # the parent's to handle: it ends this process in its own way
        signal.signal(number, signal.SIG_IGN)
    _limit_memory(memory_mb)
    from erprm.grading.answers.compare import equal_answers

    try:
        from erprm.grading.answers.symbolic import SympySymbolic
    except ImportError as error:
        _reply(replies, {"error": str(error)})
        return
    symbolic = SympySymbolic()
    equal_answers(r"\frac{x+1}{2}", r"\frac{x}{2}+0.5", symbolic)  # builds the parser's tables before the clock runs
    sys.setrecursionlimit(3000)
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse_side_effects)
    _reply(replies, {})
    for line in sys.stdin:
        gold, prediction, wall_s = json.loads(line)
        _set_timers(timeout_s, wall_s)
        try:
            outcome: dict[str, bool | str] = {"equal": equal_answers(gold, prediction, symbolic)}
        except MemoryError:
            outcome = {"error": "memory"}
        except Exception as error:  # noqa: BLE001 - whatever sympy raises, the next pair must be served
            outcome = {"error": type(error).__name__}
        _set_timers(0, 0)
        _reply(replies, outcome)
        if outcome == {"error": "memory"}:
            break  # a fresh process is safer than a heap in pieces
