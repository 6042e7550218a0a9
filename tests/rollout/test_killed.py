"""A run that is killed, at whatever moment, and started again has the rows of a run that was not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from erprm.data.records import read_records
from erprm.rollout.running.verification import verify

REPOSITORY = Path(__file__).resolve().parents[2]


def killed_runs(folder: Path, *moments: str) -> list[Path]:
    subprocess.run(
        [sys.executable, "-m", "tests.rollout.killed_run", str(folder), *moments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=900,
    )
    return sorted(folder.glob("killed-*"))


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_equal_to_the_whole_run(folder: Path, killed: list[Path]) -> None:
    expected, files = list(read_records(folder / "whole")), files_of(folder / "whole")
    assert expected
    for run in killed:
        assert list(read_records(run)) == expected
        assert files_of(run) == files
        assert verify(run).is_whole


def test_a_run_killed_at_any_moment_of_writing_and_continued_gives_the_rows_of_a_whole_run(tmp_path: Path) -> None:
    killed = killed_runs(tmp_path)
    # The manifest and its copy, three shards with their marks, and the summary: at least nine files, as many moments.
    assert len(killed) >= 9
    assert_equal_to_the_whole_run(tmp_path, killed)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_and_continued_gives_the_rows_of_a_whole_run(tmp_path: Path) -> None:
    killed = killed_runs(tmp_path, "20")
    assert len(killed) == 20
    assert_equal_to_the_whole_run(tmp_path, killed)
