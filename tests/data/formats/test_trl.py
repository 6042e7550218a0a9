import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats import import_trl
from erprm.data.formats.trl import trl_row
from tests.data.formats.rows import write_json
from tests.tiny import make_record

ROW = {"prompt": "What?\n", "completions": ["a ", " b"], "labels": [True, False]}


@pytest.mark.parametrize(
    ("labels", "rewards", "correct"),
    [
        ([True, False], [[1.0], [0.0]], False),
        ([0, 1], [[0.0], [1.0]], True),
        ([0.9, 0.1], [[0.9], [0.1]], False),
        ([1, 0.5], [[1.0], [0.5]], True),
    ],
)
def test_labels_are_kept_as_they_are(
    tmp_path: Path, labels: list[float], rewards: list[list[float]], correct: bool
) -> None:
    (record,) = import_trl(write_json(tmp_path / "a.jsonl", {**ROW, "labels": labels}))
    assert (record.rewards, record.correct) == (rewards, correct)


def test_texts_are_kept_with_their_white_space(tmp_path: Path) -> None:
    (record,) = import_trl(write_json(tmp_path / "a.jsonl", ROW))
    assert (record.question, record.steps, record.source) == ("What?\n", ["a ", " b"], "trl")


def test_parquet_columns_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "a.parquet")
    (record,) = import_trl(tmp_path / "a.parquet")
    assert record.rewards == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": [True]}, "field 'labels' has 1 label(s) for 2 completion(s)"),
        ({"labels": [True] * 3}, "field 'labels' has 3 label(s) for 2 completion(s)"),
        ({"labels": ["True", "False"]}, "field 'labels[0]' is 'True'; expected a number in [0, 1], true or false"),
        ({"labels": "+-"}, "field 'labels' is '+-'; expected a list of booleans or numbers"),
        ({"labels": [0.5, None]}, "field 'labels[1]' is None; expected a number in [0, 1], true or false"),
        ({"labels": [0.5, math.nan]}, "field 'labels[1]' is nan; expected a number in [0, 1], true or false"),
        ({"labels": [0.5, -100]}, "field 'labels[1]' is -100; expected a number in [0, 1], true or false"),
        ({"completions": [], "labels": []}, "field 'steps' is []; expected a list of at least one step"),
        ({"completions": ["a", ""]}, "field 'steps[1]' is ''; expected a text that is not blank"),
        ({"completions": "a"}, "field 'completions' is 'a'; expected a list of texts"),
        (
            {"prompt": [{"role": "user", "content": "What?"}]},
            "field 'prompt' is [{'role': 'user', 'content': 'What?'}]",
        ),
    ],
)
def test_a_row_that_cannot_be_imported_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = write_json(tmp_path / "a.jsonl", ROW, {**ROW, **changes})
    with pytest.raises(RowError) as error:
        list(import_trl(path))
    assert str(error.value).startswith(f"{path}, line 2: {complaint}")


@pytest.mark.parametrize(
    ("threshold", "labels"), [(None, [0.25, 0.5]), (0.5, [False, True]), (0.25, [True, True]), (1.0, [False, False])]
)
def test_a_record_becomes_a_row_with_numbers_or_booleans(threshold: float | None, labels: list[float]) -> None:
    record = make_record(0, [[0.0], [1.0]], question="What?", steps=["a", "b"])
    assert trl_row(record, [0.25, 0.5], threshold) == {"prompt": "What?", "completions": ["a", "b"], "labels": labels}
