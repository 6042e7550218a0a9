"""benchmarks/rollout_memory.py, with a handful of problems."""

import runpy
from pathlib import Path

import pytest

from erprm.data.records import read_records
from erprm.rollout.running.verification import verify
from tests.conftest import REPOSITORY


def test_the_benchmark_makes_a_whole_run_and_prints_its_peak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = runpy.run_path(str(REPOSITORY / "benchmarks/rollout_memory.py"))
    benchmark["write_problems"](tmp_path / "problems.jsonl", 130)
    benchmark["run"](tmp_path / "problems.jsonl", tmp_path / "run")
    assert float(capsys.readouterr().out) > 50.0
    assert len({record.problem_id for record in read_records(tmp_path / "run")}) == 130
    found = verify(tmp_path / "run")
    assert found.is_whole
    assert found.shards == 2
    assert found.counts.correct_solutions > 0
