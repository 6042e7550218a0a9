"""Runs commands of this package in child processes, which end with this one.

A command frees its memory when it ends, and a training on several devices starts further processes of its own: hence a
session for each, which is asked to stop as a whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from erprm.runs.signals import stop_on_signals

_PACKAGE = str(Path(__file__).resolve().parents[2])


def run_command(
    arguments: Sequence[str], log_file: Path, launcher: Sequence[str] = (), keep_open: Sequence[int] = ()
) -> int:
    """Runs a command to the end.

    When this process is asked to stop, the command is asked to stop too, and has all the time it needs to save its
    work. When this process is killed, the command is killed.

    Args:
        arguments: the command and its arguments.
        log_file: file to which its output is added.
        launcher: the words before the arguments; if there are none, this very package is run by this Python.
        keep_open: file descriptors that the command holds, too, such as that of a lock.

    Returns:
        Its exit status.
    """
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [*(launcher or _THIS_ERPRM), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep_open,
            env=None if launcher else _environment(),
        )
    # A negative number stands for the whole session.
    watch = kill_when_this_process_ends([-process.pid])
    try:
        with stop_on_signals():
            return process.wait()
    except BaseException:
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    finally:
        if process.returncode is not None:
            watch.kill()
            watch.communicate()


def output_of_command(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command of this very package that is soon done, and returns what it printed."""
    command = [*_THIS_ERPRM, *arguments]
    return subprocess.run(command, capture_output=True, check=False, text=True, env=_environment())


def kill_when_this_process_ends(pids: Sequence[int]) -> subprocess.Popen[bytes]:
    """Starts a process that kills others once this one ends, in whatever way; kill it to call that off.

    Args:
        pids: their ids; a negative one stands for a session.
    """
    # The end of this process closes the pipe, and `cat` returns. A session of its own survives signals to the group.
    script = 'cat > /dev/null; kill -9 "$@" 2> /dev/null'
    command = ["sh", "-c", script, "sh", *map(str, pids)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


# With -m, so that Lightning can start further processes of a training in the same way.
_THIS_ERPRM = (sys.executable, "-m", "erprm")


def _environment() -> dict[str, str]:
    """Variables with which ``-m erprm`` is this package, and a file of the working folder stands in for no library.

    The command looks for modules of the user's in the working folder last (:func:`erprm.cli.main`). Python
    3.10 does not know the variable, and looks there first.
    """
    path = os.pathsep.join(filter(None, [_PACKAGE, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
