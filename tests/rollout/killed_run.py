"""Runs the same rollouts again and again, each time killed at another moment and then continued.

Usage: python -m tests.rollout.killed_run FOLDER [MOMENTS]

FOLDER/whole is an uninterrupted run. In FOLDER/killed-<n> a first process is killed with SIGKILL and a second one
continues. Without MOMENTS the first kills itself as it is about to make its n-th file durable; n goes up until a run
ends before its n-th time. With MOMENTS there are so many, at random times within that of a whole run.
"""

import io
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from rich.console import Console

from erprm.data.sources import Problem
from erprm.engines.transformers import TransformersEngine
from erprm.rollout import RolloutConfig, run_rollouts
from tests.rollout.conftest import WORDS, make_policy, make_word_tokenizer

PROBLEMS = [Problem(f"p/{number}", f"{number} + 1 =", str(number + 1), "test") for number in range(6)]


ENGINE = TransformersEngine.from_model(make_policy(len(WORDS)), make_word_tokenizer(), "tiny")


def run(folder: Path) -> None:
    config = RolloutConfig(
        "tiny",
        str(folder),
        solutions_per_problem=2,
        completions_per_step=3,
        max_tokens=10,
        problems_per_shard=2,
    )
    run_rollouts(config, ENGINE, PROBLEMS, Console(file=io.StringIO()))


def begin_child(folder: Path, kill_at: int | None = None) -> int:
    """The process id of a run in a process of its own."""
    child = os.fork()
    if child == 0:
        if kill_at is not None:
            kill_at_fsync(kill_at)
        run(folder)
        os._exit(0)
    return child


def status_of(child: int) -> int:
    """Exit status of a process once it has ended; negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_fsync(count: int) -> None:
    fsync, calls = os.fsync, 0

    def fsync_or_die(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    os.fsync = fsync_or_die  # type: ignore[assignment]


def kill_at_each_file(folder: Path) -> None:
    for kill_at in range(1, 100):
        killed = folder / f"killed-{kill_at:02d}"
        status = status_of(begin_child(killed, kill_at))
        if status == 0:
            return
        assert status == -signal.SIGKILL
        assert status_of(begin_child(killed)) == 0


def kill_at_random(folder: Path, moments: int, seconds: float) -> None:
    moment = random.Random(0)
    for number in range(moments):
        killed = folder / f"killed-{number:02d}"
        child = begin_child(killed)
        # One in each twentieth of the run, so that early and late ones are among them.
        time.sleep(seconds * (number + moment.random()) / moments)
        os.kill(child, signal.SIGKILL)
        # A run may have ended by then, on a machine that has become faster.
        assert status_of(child) in (-signal.SIGKILL, 0)
        assert status_of(begin_child(killed)) == 0


def main(folder: Path, moments: int | None) -> None:
    # One thread: a forked process has no others.
    torch.set_num_threads(1)
    # In this process, so that its children find everything imported.
    run(folder / "whole")
    if moments is None:
        kill_at_each_file(folder)
    else:
        started = time.perf_counter()
        assert status_of(begin_child(folder / "timed")) == 0
        kill_at_random(folder, moments, time.perf_counter() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
