"""Runs the same rollouts again and again, each time killed at a later point and then continued.

Usage: python -m tests.rollout.killed_run FOLDER

FOLDER/whole is an uninterrupted run. In FOLDER/killed-<n> the first process kills itself with SIGKILL as it is about
to make its n-th file durable, and a second process continues; n goes up until a run ends before its n-th time.
"""

import io
import os
import signal
import sys
from pathlib import Path

import torch
from rich.console import Console

from erprm.data.sources import Problem
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.transformers_engine import TransformersEngine
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


def in_child(folder: Path, kill_at: int | None) -> int:
    """Exit status of a run in a process of its own; negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        if kill_at is not None:
            kill_at_fsync(kill_at)
        run(folder)
        os._exit(0)
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


def main(folder: Path) -> None:
    # One thread: a forked process has no others.
    torch.set_num_threads(1)
    run(folder / "whole")
    for kill_at in range(1, 100):
        killed = folder / f"killed-{kill_at:02d}"
        status = in_child(killed, kill_at)
        if status == 0:
            return
        assert status == -signal.SIGKILL
        assert in_child(killed, kill_at=None) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
