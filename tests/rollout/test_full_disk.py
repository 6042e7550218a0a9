"""A disk that is full: a report that says so, nothing lost, and the same command goes on once there is room."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from erprm.data.records import read_records
from erprm.rollout.running.verification import verify
from tests.rollout.many_rows import run

REPOSITORY = Path(__file__).resolve().parents[2]
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]


def may_mount() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder)
    return folder


@pytest.mark.skipif(not may_mount(), reason="needs Linux and the right to mount in a namespace of one's own")
def test_a_full_disk_ends_in_a_report_and_the_run_goes_on_once_there_is_room(tmp_path: Path, whole: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.rollout.many_rows", str(disk)],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=900,
    )
    assert "No space left on device: the shards written before are whole, and the same command continues" in done.stdout
    assert f"{disk}/run/data/train-0000" in done.stdout
    assert list(read_records(tmp_path / "disk-copy")) == list(read_records(whole))
    assert verify(tmp_path / "disk-copy").is_whole


def test_a_limit_on_the_size_of_files_leaves_nothing_half_written(tmp_path: Path, whole: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(OSError, match="File too large: the shards written before are whole") as refusal:
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refusal.value.errno == errno.EFBIG
    assert not list((tmp_path / "data").iterdir())
    run(tmp_path)
    assert list(read_records(tmp_path)) == list(read_records(whole))
    assert verify(tmp_path).is_whole
