import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats.conversion import convert, target_of
from erprm.data.formats.exporting import ExportOptions
from erprm.data.records import read_records, write_records
from tests.data.formats.rows import write_json
from tests.tiny import make_record

TRL = {"prompt": "What?", "completions": ["a", "b"], "labels": [0.5, True]}
MALFORMED = {**TRL, "labels": ["+", "-"]}


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("output", "target"),
    [
        ("a.parquet", "records"),
        ("a.jsonl", "trl"),
        ("a.jsonl.zst", "trl"),
        ("a.json", "official"),
        ("a.json.gz", "official"),
    ],
)
def test_the_name_of_the_output_says_its_layout(output: str, target: str) -> None:
    assert target_of(output) == target


def test_records_go_into_parquet_alone() -> None:
    with pytest.raises(ValueError, match=r"records are written as Parquet; the name 'a\.jsonl' does not end in"):
        target_of("a.jsonl", "records")
    assert target_of("a.parquet", "trl") == "trl"


def test_rows_become_records_and_are_counted(tmp_path: Path) -> None:
    result = convert(write_json(tmp_path / "a.jsonl", TRL, TRL), tmp_path / "a.parquet")
    assert (result.target, result.formats, result.rows, result.written, result.rejected) == (
        "records",
        ["trl"],
        2,
        2,
        0,
    )
    assert [record.rewards for record in read_records(tmp_path / "a.parquet")] == [[[0.5], [1.0]]] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.parquet"]


def test_the_first_row_that_cannot_be_used_leaves_everything_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_bytes(b"before")
    source = write_json(tmp_path / "a.jsonl", *[TRL] * 3000, MALFORMED)
    with pytest.raises(RowError, match=r"line 3001: field 'labels\[0\]' is '\+'"):
        convert(source, tmp_path / "b.parquet")
    assert (tmp_path / "b.parquet").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.parquet"]


def test_rows_that_cannot_be_used_are_written_aside(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    write_json(source, TRL, MALFORMED, TRL)
    source.write_bytes(
        source.read_bytes() + b'{"prompt": "\xff"}\n{"prompt": "\\ud800", "completions": [], "labels": []}\n'
    )
    result = convert(source, tmp_path / "b.parquet", skip_rejected=True)
    assert (result.rows, result.written, result.rejected) == (2, 2, 3)
    assert result.rejected_file == tmp_path / "b.parquet.rejected.jsonl"
    assert result.rejected_file is not None
    rejected = read_lines(result.rejected_file)
    assert [(row["file"], row["line"]) for row in rejected] == [(str(source), 2), (str(source), 4), (str(source), 5)]
    assert rejected[0]["reason"] == "field 'labels[0]' is '+'; expected a number in [0, 1], true or false"
    assert rejected[0]["content"] == MALFORMED
    assert rejected[1]["reason"].startswith("not UTF-8 text (byte 13 of the line is 0xff")
    assert rejected[1]["content"] == '{"prompt": "\ufffd"}'
    assert rejected[2]["content"]["prompt"] == "\ud800"
    assert result.reasons[0] == f"{source}, line 2: {rejected[0]['reason']}"


def test_rows_written_aside_by_an_earlier_run_go_when_all_rows_can_be_used(tmp_path: Path) -> None:
    source = write_json(tmp_path / "a.jsonl", TRL, MALFORMED)
    convert(source, tmp_path / "b.parquet", skip_rejected=True)
    assert (tmp_path / "b.parquet.rejected.jsonl").exists()
    convert(write_json(source, TRL), tmp_path / "b.parquet", skip_rejected=True)
    assert not (tmp_path / "b.parquet.rejected.jsonl").exists()


def test_records_that_the_target_cannot_carry_are_written_aside_with_their_place(tmp_path: Path) -> None:
    records = [make_record(0, [[1.0]], steps=["Step 1: a"]), make_record(1, [[1.0]], steps=["наки"])]
    write_records(records, tmp_path / "a.parquet")
    result = convert(tmp_path / "a.parquet", tmp_path / "b.json", skip_rejected=True)
    assert (result.target, result.rows, result.written, result.rejected) == ("official", 2, 1, 1)
    assert result.rejected_file is not None
    (rejected,) = read_lines(result.rejected_file)
    # Rows of a table are counted from 0.
    assert (rejected["file"], rejected["row"]) == (str(tmp_path / "a.parquet"), 1)
    assert rejected["content"] == vars(records[1])


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "holds no row"),
        ([MALFORMED], "none of its rows can be used; "),
        (
            [{"question": {"problem": "?"}, "label": {"steps": []}}],
            "none of its rows can be used, and none has a label",
        ),
    ],
)
def test_a_source_that_gives_nothing_leaves_no_output(tmp_path: Path, rows: list[Any], problem: str) -> None:
    source = write_json(tmp_path / "a.jsonl", *rows)
    with pytest.raises(ValueError, match=re.escape(f"{source}: {problem}")):
        convert(source, tmp_path / "b.parquet", skip_rejected=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_truncated_source_ends_the_conversion_even_if_rows_are_skipped(tmp_path: Path) -> None:
    content = gzip.compress("".join(f'{{"n": {n}, {json.dumps(TRL)[1:]}\n' for n in range(5000)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(content[:-200])
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz: the gzip data are damaged or end too early"):
        convert(tmp_path / "a.jsonl.gz", tmp_path / "b.parquet", skip_rejected=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl.gz"]


def test_a_source_may_be_converted_into_itself(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.jsonl", TRL, TRL)
    convert(path, path, export_options=ExportOptions(threshold=0.75))
    assert [row["labels"] for row in read_lines(path)] == [[False, True]] * 2
