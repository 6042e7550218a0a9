"""Runs the same RAFT again and again, each time killed at another moment and then continued.

Usage: python -m tests.raft.killed_run FOLDER [EVERY]

FOLDER/whole is an uninterrupted run. In FOLDER/killed-<n> a first process kills itself with SIGKILL as it is about to
make its n-th file durable, and a second one continues; n goes up, by EVERY, until a run ends before its n-th time.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from erprm.cli import main as erprm
from erprm.raft import RaftConfig, run_raft
from tests.raft.sums import make_config, save_policy, write_problems
from tests.rollout.killed_run import kill_at_fsync, status_of


def config_of(folder: Path) -> RaftConfig:
    """One round, with importance weights, whose training saves a checkpoint after each epoch."""
    config = make_config(
        folder.parent, folder.name, rounds=1, prompts_per_round=6, problems_per_part=3, importance_cap=2.0
    )
    callback = "lightning.pytorch.callbacks.ModelCheckpoint"
    config.sft["trainer"]["callbacks"] = [{"class_path": callback, "init_args": {"save_last": True}}]
    config.sft["trainer"]["enable_checkpointing"] = True
    return config


def sft(arguments: Sequence[str], log_file: Path) -> None:
    assert erprm(arguments) == 0


def run(folder: Path) -> None:
    run_raft(config_of(folder), Console(file=io.StringIO()), sft)


def begin_child(folder: Path, kill_at: int | None = None) -> int:
    """The process id of a run in a process of its own."""
    child = os.fork()
    if child == 0:
        if kill_at is not None:
            kill_at_fsync(kill_at)
        run(folder)
        os._exit(0)
    return child


def main(folder: Path, every: int) -> None:
    # One thread: a forked process has no others.
    torch.set_num_threads(1)
    save_policy(folder / "policy")
    write_problems(folder)
    # In this process, so that its children find everything imported.
    run(folder / "whole")
    for kill_at in range(1, 200, every):
        killed = folder / f"killed-{kill_at:02d}"
        status = status_of(begin_child(killed, kill_at))
        if status == 0:
            return
        assert status == -signal.SIGKILL
        assert status_of(begin_child(killed)) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
