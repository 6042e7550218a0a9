import json
from pathlib import Path
from typing import Any

import pytest

from erprm.data.records import RecordError, write_records
from erprm.data.step_labels import labels_fingerprint, read_step_labels
from tests.tiny import make_record

WRONG = {"id": "x-0", "problem": "q?", "steps": ["a", "b", "c"], "label": 1, "final_answer_correct": False}
RIGHT = {"id": "x-1", "problem": "q?", "steps": ["a", "d"], "label": -1, "final_answer_correct": True}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_solution_of_processbench_is_kept_whole(tmp_path: Path) -> None:
    wrong, right = read_step_labels(write(tmp_path / "p.jsonl", WRONG, RIGHT))
    assert list(wrong.solution.steps) == ["a", "b", "c"]
    assert (wrong.labels, wrong.first_error) == ((1.0, 0.0), 1)
    assert (right.labels, right.first_error) == ((1.0, 1.0), -1)


def test_the_real_file_has_the_labels_it_was_published_with(shared_data: Path) -> None:
    path = shared_data / "processbench_gsm8k.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    solutions = read_step_labels(path)
    assert [each.first_error for each in solutions] == [row["label"] for row in rows]
    assert [list(each.solution.steps) for each in solutions] == [row["steps"] for row in rows]


def test_records_have_the_mean_of_their_rewards_for_labels(tmp_path: Path) -> None:
    write_records([make_record(0, [[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.0]])], tmp_path / "r.parquet")
    (solution,) = read_step_labels(tmp_path / "r.parquet")
    assert (solution.labels, solution.first_error) == ((0.75, 0.25, 0.0), 1)


def test_a_limit_keeps_the_first_and_changes_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", WRONG, RIGHT)
    both, first = read_step_labels(path), read_step_labels(path, limit=1)
    assert first == both[:1]
    assert labels_fingerprint(first) != labels_fingerprint(both)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**RIGHT, "label": 2}, r"line 2: field 'label' is 2"),
        ({**RIGHT, "steps": ["a", " "]}, r"line 2: field 'steps' is \['a', ' '\]; expected texts that are not blank"),
        ({"problem": "q?", "steps": ["a"]}, r"line 2: has no field 'label'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read_step_labels(write(tmp_path / "p.jsonl", WRONG, row))


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p\.jsonl"):
        read_step_labels(write(tmp_path / "p.jsonl"))
