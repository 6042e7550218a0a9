import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats import ImportOptions, RecordImport, detect_format
from erprm.data.records import write_records
from tests.data.formats.rows import write_json
from tests.tiny import make_record

OFFICIAL = {"text": "What? Step 1: a ки", "value": [1.0]}
SHEPHERD = {"input": "What? Step 1: a ки", "label": "What? Step 1: a +"}
TRL = {"prompt": "What?", "completions": ["a"], "labels": [True]}
PROCESSBENCH = {"problem": "What?", "steps": ["a"], "label": -1}
PRM800K = {
    "question": {"problem": "What?"},
    "label": {"steps": [{"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0}]},
}
RECORD = vars(make_record())
ROWS: dict[str, dict[str, Any]] = {
    "records": RECORD,
    "official": OFFICIAL,
    "math_shepherd": SHEPHERD,
    "prm800k": PRM800K,
    "trl": TRL,
    "processbench": PROCESSBENCH,
}


@pytest.mark.parametrize("name", ROWS)
def test_the_layout_is_told_by_the_fields_whatever_else_there_is(tmp_path: Path, name: str) -> None:
    assert detect_format({**ROWS[name], "id": 7, "source": "x"}) == name
    records = RecordImport(write_json(tmp_path / "a.jsonl", ROWS[name], ROWS[name]))
    assert len(list(records)) == 2
    assert records.formats == [name]


def test_rows_of_no_known_layout_are_refused_with_the_fields_of_all_that_are(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.jsonl", {"question": "What?", "answer": "7"})
    message = f"{path}, line 1: has the fields question, answer, which no known layout has: records has problem_id,"
    with pytest.raises(ValueError, match=re.escape(message)):
        list(RecordImport(path))
    assert detect_format({}) is None


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (TRL, "has the fields prompt, completions, labels, and looks like trl"),
        ({"text": "What?"}, "has the fields text"),
        ({}, "has the fields (none)"),
    ],
)
def test_the_first_row_of_another_layout_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = write_json(tmp_path / "a.json", OFFICIAL, OFFICIAL, row, TRL)
    with pytest.raises(RowError) as error:
        list(RecordImport(path))
    expected = f"expected text, value, the layout official, like {path}, element 1"
    assert str(error.value) == f"{path}, element 3: {problem}; {expected}"


def test_a_layout_that_was_asked_for_is_not_guessed(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.jsonl", TRL)
    with pytest.raises(RowError, match=r"line 1: .*looks like trl; expected text, value, .*, as was asked for"):
        list(RecordImport(path, "official"))
    with pytest.raises(ValueError, match=r"format 'parquet' is unknown; known are auto, records, official, "):
        RecordImport(path, "parquet")


def test_each_file_of_a_folder_is_told_by_its_own_first_row(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([TRL]), tmp_path / "a.parquet")
    write_records([make_record()], tmp_path / "b.parquet")
    records = RecordImport(tmp_path)
    assert [record.source for record in records] == ["trl", "sum"]
    assert records.formats == ["trl", "records"]


def test_rejected_rows_are_handed_over_with_their_place_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json(path, TRL, {**TRL, "labels": []}, OFFICIAL, TRL)
    path.write_bytes(path.read_bytes() + b"{\n")
    rejected: list[tuple[str, str, object]] = []
    records = RecordImport(path, reject=lambda place, reason, row: rejected.append((str(place), reason, row)))
    assert [(place.number, record.question) for place, record in records.with_places()] == [(1, "What?"), (4, "What?")]
    assert records.rows == 2
    assert [(place.removeprefix(str(path)), row) for place, _, row in rejected] == [
        (", line 2", {**TRL, "labels": []}),
        (", line 3", OFFICIAL),
        (", line 5", "{"),
    ]
    assert [reason.split(" (Expecting")[0] for _, reason, _ in rejected] == [
        "field 'labels' has 0 label(s) for 1 completion(s)",
        "has the fields text, value, and looks like official; expected prompt, completions, labels, the layout trl, "
        f"like {path}, line 1",
        "not JSON",
    ]


def test_a_first_row_that_cannot_be_read_does_not_decide_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{\n")
    path.write_text(path.read_text() + write_json(tmp_path / "b.jsonl", TRL).read_text())
    assert len(list(RecordImport(path, reject=lambda *_: None))) == 1


def test_an_option_out_of_range_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="neutral is 2"):
        RecordImport("nowhere.jsonl", "prm800k", ImportOptions(neutral=2))
