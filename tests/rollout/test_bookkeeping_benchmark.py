"""benchmarks/bookkeeping.py, with a handful of shards."""

import runpy
from pathlib import Path

from erprm.data.records import read_records
from tests.conftest import REPOSITORY


def test_every_problem_of_the_benchmark_gives_a_right_record_of_two_steps(tmp_path: Path) -> None:
    run = runpy.run_path(str(REPOSITORY / "benchmarks/bookkeeping.py"))["run"]
    found = run(3, 2, tmp_path)
    records = list(read_records(tmp_path / "run"))
    assert [(len(record.steps), record.rewards) for record in records] == [(2, [[1.0], [1.0]])] * 6
    assert len(list((tmp_path / "run/data").iterdir())) == found["shards"] == 3
    assert 0 < found["again"] < found["total"]
