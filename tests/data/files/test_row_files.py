import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erprm.data.files.json_rows import MAX_ROW_BYTES
from erprm.data.files.row_files import layout_of, parquet_batches, read_rows, write_rows
from erprm.data.records import RecordError, read_records, write_records
from tests.tiny import make_record

ROWS: list[dict[str, Any]] = [{"a": "é", "b": [0.5, 1.0]}, {"a": "x\ny", "b": []}, {"a": "", "b": [0.1]}]
SCHEMA = pa.schema([("a", pa.string()), ("b", pa.list_(pa.float64()))])


@pytest.mark.parametrize(
    "name", ["r.jsonl", "r.json", "r.jsonl.gz", "r.json.gz", "r.jsonl.zst", "r.json.zst", "r.parquet"]
)
def test_rows_come_back_as_they_were_written(tmp_path: Path, name: str) -> None:
    assert write_rows(iter(ROWS), tmp_path / "new" / name, SCHEMA) == 3
    assert [row for _, row in read_rows(tmp_path / "new" / name)] == ROWS


def test_a_json_file_is_one_array_and_a_jsonl_file_a_row_a_line(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "r.json", SCHEMA)
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == ROWS
    write_rows(ROWS, tmp_path / "r.jsonl", SCHEMA)
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS


@pytest.mark.parametrize(("name", "content"), [("r.json", "[\n\n]\n"), ("r.jsonl", "")])
def test_no_rows_make_a_file_of_none(tmp_path: Path, name: str, content: str) -> None:
    assert write_rows([], tmp_path / name, SCHEMA) == 0
    assert (tmp_path / name).read_text() == content
    assert list(read_rows(tmp_path / name)) == []


@pytest.mark.parametrize("name", ["r.jsonl", "r.json.gz", "r.jsonl.zst", "r.parquet"])
def test_rows_that_end_in_an_error_leave_an_earlier_file_as_it_was(tmp_path: Path, name: str) -> None:
    write_rows(ROWS, tmp_path / name, SCHEMA)
    before = (tmp_path / name).read_bytes()

    def failing() -> Iterator[dict[str, Any]]:
        for _ in range(3000):
            yield ROWS[0]
        raise OSError("the source broke off")

    with pytest.raises(OSError, match="broke off"):
        write_rows(failing(), tmp_path / name, SCHEMA)
    assert (tmp_path / name).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["r.txt", "r", "r.gz", "r.csv.gz", "r.parquet.gz"])
def test_a_name_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{re.escape(name)}' does not say what to write; expected a name that ends"):
        layout_of(name)


def test_parquet_is_told_by_its_content_and_rows_are_counted_from_zero(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "r.jsonl")
    assert [(str(place), row) for place, row in read_rows(tmp_path / "r.jsonl")] == [
        (f"{tmp_path / 'r.jsonl'}, row {number}", row) for number, row in enumerate(ROWS)
    ]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [2]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    assert [row for _, row in read_rows(tmp_path)] == [{"x": 1}, {"x": 2}]


def test_memory_does_not_grow_with_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    with pq.ParquetWriter(path, pa.schema([("x", pa.binary())])) as writer:
        for _ in range(40):
            writer.write_batch(pa.record_batch({"x": [os.urandom(1000) for _ in range(1000)]}))
    assert path.stat().st_size > 40_000_000
    before = pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in parquet_batches(path))
    assert 0 < peak < 10_000_000


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_parquet_file_is_named(tmp_path: Path, kept: float) -> None:
    pq.write_table(pa.table({"x": list(range(10_000))}), tmp_path / "r.parquet")
    content = (tmp_path / "r.parquet").read_bytes()
    (tmp_path / "r.parquet").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"r\.parquet: not a Parquet file, or a damaged one"):
        list(read_rows(tmp_path / "r.parquet"))


def test_a_hub_data_set_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[str] = []

    def hub(hub_id: str, config: str | None, *, split: str) -> datasets.Dataset:
        asked.append(split)
        return datasets.Dataset.from_list(ROWS)

    # Only the download is replaced: the suite runs without the hub.
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert [(str(place), row["a"]) for place, row in read_rows("owner/rows", split="gsm8k")] == [
        ("owner/rows, row 0", "é"),
        ("owner/rows, row 1", "x\ny"),
        ("owner/rows, row 2", ""),
    ]
    assert asked == ["gsm8k"]


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "no.jsonl", "does not exist"), (tmp_path, "holds no .parquet file")):
        with pytest.raises(FileNotFoundError, match=re.escape(f"rows: {str(path)!r} {problem}")):
            list(read_rows(path))


# Folders of several splits, as they come from the hub -----------------------------------------------------------------

SPLIT_LAYOUTS = [
    ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"),
    ("train/part.parquet", "test/part.parquet"),
    ("train.parquet", "test.parquet"),
    ("main/train_0.parquet", "main/test_0.parquet"),
]


def write_splits(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"number": [number]}), folder / name)
    return folder


def numbers_of(folder: Path, split: str = "train") -> list[int]:
    return [row["number"] for _, row in read_rows(folder, split=split)]


@pytest.mark.parametrize("names", SPLIT_LAYOUTS)
def test_a_folder_gives_the_split_that_is_asked_for(
    names: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_splits(tmp_path / "clone", *names)
    assert numbers_of(folder) == [0]
    assert "holds the splits" in caplog.text
    assert "train is read" in caplog.text
    assert numbers_of(folder, split="test") == [1]


def test_records_of_a_folder_with_splits_are_those_of_train(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        write_records(
            [make_record(problem) for problem in range(count)], tmp_path / f"data/{split}-00000-of-00001.parquet"
        )
    assert len(list(read_records(tmp_path))) == 3


def test_a_split_that_a_folder_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = write_splits(tmp_path, "train.parquet", "test.parquet")
    with pytest.raises(ValueError, match=r"has no split 'validation'; it has (test, train|train, test)"):
        numbers_of(folder, split="validation")


def test_a_folder_of_test_data_alone_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_splits(tmp_path, "test-00000-of-00002.parquet", "test-00001-of-00002.parquet")
    assert numbers_of(folder) == [0, 1]
    assert "holds the split test alone, which is read" in caplog.text


def test_files_without_a_split_are_all_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert numbers_of(write_splits(tmp_path, "a.parquet", "deep/b.parquet", "deep/.c.parquet")) == [0, 1]
    assert caplog.text == ""


def test_files_beside_splits_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_splits(tmp_path, "train-00000-of-00001.parquet", "extra.parquet")
    assert numbers_of(folder) == [0]
    assert "1 of 2 Parquet files belong to no split" in caplog.text


def test_a_split_of_a_single_file_is_not_looked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_splits(tmp_path, "rows.parquet")
    assert numbers_of(folder / "rows.parquet", split="test") == [0]
    assert "the split test is not looked for" in caplog.text


def bad_text(path: Path, values: list[bytes]) -> Path:
    """A Parquet file whose texts nobody has checked."""
    texts = pa.array(values, pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), path)
    return path


@pytest.mark.parametrize("bad", [[0], [4], [1, 3], list(range(5))])
def test_text_of_parquet_that_is_no_utf_8_costs_its_row_alone(tmp_path: Path, bad: list[int]) -> None:
    path = bad_text(tmp_path / "r.parquet", [b"ab\xff" if i in bad else str(i).encode() for i in range(5)])
    rejected: list[tuple[int, str]] = []
    rows = list(read_rows(path, reject=lambda place, reason, row: rejected.append((place.number, reason))))
    assert [(place.number, row["text"]) for place, row in rows] == [(i, str(i)) for i in range(5) if i not in bad]
    assert rejected == [(i, "not UTF-8 text (invalid start byte 0xff)") for i in bad]


def test_records_with_text_that_is_no_utf_8_are_named(tmp_path: Path) -> None:
    write_records([make_record(i) for i in range(3)], tmp_path / "r.parquet")
    table = pq.read_table(tmp_path / "r.parquet")
    column = table.schema.get_field_index("question")
    texts = pa.array([b"a", b"b", b"\xc3"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(column, "question", texts), tmp_path / "r.parquet")
    with pytest.raises(RecordError, match=r"r\.parquet, row 2: not UTF-8 text"):
        list(read_records(tmp_path / "r.parquet"))


def test_a_seed_of_64_bits_without_a_sign_is_named(tmp_path: Path) -> None:
    write_records([make_record(i) for i in range(2)], tmp_path / "r.parquet")
    table = pq.read_table(tmp_path / "r.parquet")
    seeds = pa.array([1, 2**64 - 1], pa.uint64())
    column = table.schema.get_field_index("seed")
    pq.write_table(table.set_column(column, "seed", seeds), tmp_path / "r.parquet")
    with pytest.raises(
        RecordError, match=r"row 1: field 'seed' is 18446744073709551615; expected an integer of 64 bits"
    ):
        list(read_records(tmp_path / "r.parquet"))


def test_a_small_file_with_a_row_of_many_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"text": ["x" * (MAX_ROW_BYTES + 1)]}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    limit = rf"bomb\.parquet: 1 row\(s\) of row group 0 take \d+ bytes; the limit is {MAX_ROW_BYTES}"
    with pytest.raises(ValueError, match=limit):
        list(read_rows(path))


@pytest.mark.parametrize("kept_as", ["text", "dictionary", "list", "struct"])
def test_a_text_that_many_rows_share_is_repeated_a_few_rows_at_a_time(kept_as: str, tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * 2**22]))
    column: pa.Array = texts
    if kept_as == "list":
        column = pa.ListArray.from_arrays(pa.array(range(401), pa.int32()), texts)
    elif kept_as == "struct":
        column = pa.StructArray.from_arrays([texts], ["t"])
    path = tmp_path / "bomb.parquet"
    # Without the types of Arrow it is read as text.
    pq.write_table(pa.table({"text": column}), path, compression="zstd", store_schema=kept_as == "dictionary")
    assert path.stat().st_size < 10_000
    before, peak, rows = pa.total_allocated_bytes(), 0, 0
    for batch in parquet_batches(path):
        peak, rows = max(peak, pa.total_allocated_bytes() - before), rows + batch.num_rows
    assert rows == 400
    assert peak < 2**27 < 400 * 2**22


def test_a_row_that_repeats_a_text_too_often_is_refused_by_its_column(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int32()), pa.array(["x" * 2**20]))
    steps = pa.ListArray.from_arrays(pa.array([0, 1, 40], pa.int32()), texts)
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "steps": steps}), path, compression="zstd")
    message = rf"bomb\.parquet, row 1: takes {39 * 2**20 + 1} bytes, {39 * 2**20} of them in column 'steps'; the limit"
    with pytest.raises(ValueError, match=message):
        list(read_rows(path))


def test_a_list_of_very_many_equal_numbers_is_refused_unread(tmp_path: Path) -> None:
    numbers = pa.DictionaryArray.from_arrays(pa.array([0] * 2**23 + [0], pa.int8()), pa.array(["1"]))
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"rewards": pa.ListArray.from_arrays(pa.array([0, 2**23 + 1], pa.int32()), numbers)}), path)
    assert path.stat().st_size < 100_000
    limit = rf"bomb\.parquet: 1 row\(s\) of row group 0 take {2**25 + 4} bytes; the limit is {MAX_ROW_BYTES}"
    with pytest.raises(ValueError, match=limit):
        list(read_rows(path))


def test_columns_of_all_types_are_read_as_pyarrow_does(tmp_path: Path) -> None:
    table = pa.table(
        {
            "large": pa.array(["a", None], pa.large_string()),
            "bytes": pa.array([b"\xff", b""], pa.binary()),
            "view": pa.array(["c", "d"], pa.string_view()),
            "dictionary": pa.array(["e", None]).dictionary_encode(),
            "decimal": pa.array([1, 2]).cast(pa.decimal128(38)),
            "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
            "map": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
            "deep": pa.array([[{"a": ["x", None]}], []], pa.list_(pa.struct({"a": pa.list_(pa.string())}))),
            "large list": pa.array([["x"], None], pa.large_list(pa.string())),
            "two": pa.array([["x", "y"], ["z", "w"]], pa.list_(pa.string(), 2)),
            "null": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    assert [row for _, row in read_rows(tmp_path / "r.parquet")] == table.to_pylist()
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    assert list(read_rows(tmp_path / "empty.parquet")) == []
