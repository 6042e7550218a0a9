import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import read_records, write_records
from tests.data.formats.rows import write_json
from tests.tiny import make_record

TRL = {"prompt": "What?", "completions": ["a", "b"], "labels": [0.5, True]}


def test_rows_that_cannot_be_used_are_counted_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = write_json(tmp_path / "a.jsonl", TRL, {**TRL, "labels": [1]}, TRL), tmp_path / "b.parquet"
    assert main(["convert", str(source), str(output), "--on-error", "skip"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"2 records written to {output}, from 2 row(s) (trl)",
        f"1 row(s) rejected and written to {output}.rejected.jsonl, the first of them:",
        f"  {source}, line 2: field 'labels' has 1 label(s) for 2 completion(s)",
    ]
    assert len(list(read_records(output))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jsonl", "b.parquet"], "a.jsonl, line 2: field 'labels' has 1 label(s) for 2 completion(s)"),
        (["nowhere.jsonl", "b.parquet"], "rows: 'nowhere.jsonl' does not exist"),
        (["a.jsonl", "b.csv"], "'b.csv' does not say what to write; expected a name that ends in"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "a.jsonl", TRL, {**TRL, "labels": [1]})
    assert main(["convert", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"erprm convert: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_layouts_and_labels_can_be_named(tmp_path: Path) -> None:
    write_records([make_record(0, [[1.0, 0.0], [1.0]], steps=["a", "b"])], tmp_path / "a.parquet")
    source, output = str(tmp_path / "a.parquet"), tmp_path / "b.json"
    keys = ["--from", "records", "--to", "trl", "--labels", "soft", "--threshold", "0.75"]
    assert main(["convert", source, str(output), *keys]) == 0
    assert [row["labels"] for row in json.loads(output.read_text())] == [[False, True]]
