"""A run that is killed, at whatever moment, and started again comes to the policy of a run that was not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# What names the run's own folder, or the training that wrote the model.
OF_THE_FOLDER = {"sft.json", "sft.log", "resolved_config.yaml", "export.json"}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in OF_THE_FOLDER
    }


def check_killed_runs(folder: Path, every: int) -> int:
    subprocess.run(
        [sys.executable, "-m", "tests.raft.killed_run", str(folder), str(every)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=1200,
    )
    whole, killed = contents(folder / "whole"), sorted(folder.glob("killed-*"))
    assert {"round-1/policy/model.safetensors", "round-1/evaluation/evaluation.json", "results.json"} <= set(whole)
    for run in killed:
        assert contents(run) == whole, run.name
    return len(killed)


@pytest.mark.slow
def test_a_run_killed_while_it_writes_and_continued_has_the_files_of_a_whole_run(tmp_path: Path) -> None:
    # Every fifth of more than sixty moments: manifests, parts, evaluations, checkpoints of the training.
    assert check_killed_runs(tmp_path, 5) >= 10
