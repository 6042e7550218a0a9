import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erprm.data.records import (
    ROLLOUT_SCHEMA,
    RecordError,
    RolloutRecord,
    content_fingerprint,
    read_records,
    records_fingerprint,
    validate_record,
    write_records,
)
from tests.tiny import make_record


def row_with(**changes: object) -> dict[str, Any]:
    return {**vars(make_record(rewards=[[1.0, 0.0], [1.0]])), **changes}


# Reading and writing ----------------------------------------------------------------------------------------------


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    records = [
        make_record(0, [[0.0, 0.5, 0.25], [1.0]]),
        make_record(1, [[0.0]], question="Wie groß ist 3 × 4?\n", answer="", sampling='{"n": 4}', seed=-(2**63)),
        make_record(2, [[1.0], [0.0] * 16, [1.0, 1.0], [0.125]], correct=False, seed=2**63 - 1),
    ]
    assert write_records(iter(records), tmp_path / "new" / "r.parquet") == 3
    assert list(read_records(tmp_path / "new" / "r.parquet")) == records


def test_rewards_are_kept_as_float32(tmp_path: Path) -> None:
    write_records([make_record(0, [[0.1]])], tmp_path / "r.parquet")
    (record,) = read_records(tmp_path / "r.parquet")
    # The float32 nearest to 0.1 is 13421773 / 2^27.
    assert record.rewards == [[13421773 / 2**27]]


def test_the_file_has_the_schema_and_is_read_by_datasets(tmp_path: Path) -> None:
    import datasets

    write_records([make_record(3)], tmp_path / "r.parquet")
    assert pq.read_schema(tmp_path / "r.parquet").equals(ROLLOUT_SCHEMA)
    rows = datasets.Dataset.from_parquet(str(tmp_path / "r.parquet"), cache_dir=str(tmp_path / "cache"))
    assert rows[0] == vars(make_record(3))


def test_a_folder_is_read_in_the_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    write_records([make_record(2)], tmp_path / "b.parquet")
    write_records([make_record(1)], tmp_path / "a" / "z.parquet")
    write_records([make_record(8)], tmp_path / ".b.parquet.123.tmp")
    write_records([make_record(8)], tmp_path / ".c.parquet")
    write_records([make_record(9)], tmp_path / ".hidden" / "c.parquet")
    (tmp_path / "notes.txt").write_text("x")
    assert [record.problem_id for record in read_records(tmp_path)] == ["sum/1", "sum/2"]


def test_extra_columns_are_left_alone(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row_with()]).append_column("extra", pa.array([5]))
    pq.write_table(table, tmp_path / "r.parquet")
    assert list(read_records(tmp_path / "r.parquet")) == [make_record(rewards=[[1.0, 0.0], [1.0]])]


@pytest.mark.parametrize(
    "kind",
    [
        {"steps": pa.large_list(pa.large_string()), "question": pa.large_string()},
        {"rewards": pa.list_(pa.list_(pa.float64())), "seed": pa.int32()},
        {"rewards": pa.list_(pa.list_(pa.int64()))},
        {"question": pa.dictionary(pa.int32(), pa.string())},
    ],
)
def test_columns_of_kindred_types_are_read_all_the_same(kind: dict[str, pa.DataType], tmp_path: Path) -> None:
    row = vars(make_record(rewards=[[1.0, 0.0], [1.0]]))
    schema = pa.schema([(name, kind.get(name, ROLLOUT_SCHEMA.field(name).type)) for name in ROLLOUT_SCHEMA.names])
    pq.write_table(pa.Table.from_pylist([row, row], schema=schema), tmp_path / "r.parquet")
    assert [vars(record) for record in read_records(tmp_path / "r.parquet")] == [row, row]


def test_a_path_without_records_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, what in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "empty", "holds no .parquet file")):
        for read in (records_fingerprint, lambda path: list(read_records(path))):
            with pytest.raises(FileNotFoundError, match=re.escape(f"rollout records: {str(path)!r} {what}")):
                read(path)


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"steps": []}\n' * 10)
    with pytest.raises(ValueError, match=r"r\.jsonl: not a Parquet file"):
        list(read_records(tmp_path / "r.jsonl"))


def test_a_hub_data_set_is_read_like_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = [vars(make_record(i)) for i in range(3)]
    asked: list[tuple[object, ...]] = []

    def hub(hub_id: str, config: str | None, *, split: str) -> datasets.Dataset:
        asked.append((hub_id, config, split))
        return datasets.Dataset.from_list(rows)

    # Only the download is replaced: the suite runs without the hub.
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert list(read_records("owner/rollouts")) == [make_record(i) for i in range(3)]
    first = records_fingerprint("owner/rollouts")
    assert first == records_fingerprint("owner/rollouts")
    rows[0]["seed"] = 17
    assert first != records_fingerprint("owner/rollouts")
    assert set(asked) == {("owner/rollouts", None, "train")}


# A write that fails -----------------------------------------------------------------------------------------------


def test_records_that_end_in_an_error_leave_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[RolloutRecord]:
        for i in range(2000):  # more than one batch is written by then
            yield make_record(i)
        raise OSError("the source broke off")

    with pytest.raises(OSError, match="broke off"):
        write_records(failing(), tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    write_records([make_record(5)], tmp_path / "r.parquet")
    records = [make_record(0), make_record(1, [[1.0], [math.nan]])]
    with pytest.raises(RecordError, match=r"r\.parquet, row 1: field 'rewards\[1\]\[0\]' is nan; expected a number in"):
        write_records(records, tmp_path / "r.parquet")
    assert list(read_records(tmp_path)) == [make_record(5)]
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]


# Malformed records ------------------------------------------------------------------------------------------------

NUMBER = "expected a number in [0, 1]"
NOT_BLANK = "expected a text that is not blank"
LIST_OF_STEPS = "expected a list of at least one step"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"rewards": [[1.0]]}, "field 'rewards' has 1 list(s); expected one for each of the 2 step(s)"),
        ({"rewards": [[1.0]] * 3}, "field 'rewards' has 3 list(s); expected one for each of the 2 step(s)"),
        ({"rewards": []}, "field 'rewards' has 0 list(s); expected one for each of the 2 step(s)"),
        ({"rewards": None}, "field 'rewards' is None; expected a list"),
        ({"rewards": [1.0, 1.0]}, "field 'rewards[0]' is 1.0; expected a list of the completions' rewards"),
        (
            {"rewards": [[1.0], []]},
            "field 'rewards[1]' is []; expected a list of one reward, the graded outcome, for the last step",
        ),
        ({"rewards": [[0.0, 1.5], [1.0]]}, f"field 'rewards[0][1]' is 1.5; {NUMBER}"),
        ({"rewards": [[0.0, -0.01], [1.0]]}, f"field 'rewards[0][1]' is -0.01; {NUMBER}"),
        ({"rewards": [[math.nan], [1.0]]}, f"field 'rewards[0][0]' is nan; {NUMBER}"),
        ({"rewards": [[0.0], [math.inf]]}, f"field 'rewards[1][0]' is inf; {NUMBER}"),
        ({"rewards": [[0.0], [None]]}, f"field 'rewards[1][0]' is None; {NUMBER}"),
        ({"rewards": [["1"], [1.0]]}, f"field 'rewards[0][0]' is '1'; {NUMBER}"),
        ({"rewards": [[True], [1.0]]}, f"field 'rewards[0][0]' is True; {NUMBER}"),
        (
            {"rewards": [[0.0], [1.0, 0.0]]},
            "field 'rewards[1]' is [1.0, 0.0]; expected a list of one reward, the graded outcome, for the last step",
        ),
        ({"steps": [], "rewards": []}, f"field 'steps' is []; {LIST_OF_STEPS}"),
        ({"steps": "Step 1"}, f"field 'steps' is 'Step 1'; {LIST_OF_STEPS}"),
        ({"steps": None}, f"field 'steps' is None; {LIST_OF_STEPS}"),
        ({"steps": ["a", " \n"]}, f"field 'steps[1]' is ' \\n'; {NOT_BLANK}"),
        ({"steps": ["a", 5]}, f"field 'steps[1]' is 5; {NOT_BLANK}"),
        ({"problem_id": 7}, "field 'problem_id' is 7; expected a value of type str"),
        ({"problem_id": ""}, f"field 'problem_id' is ''; {NOT_BLANK}"),
        ({"question": " "}, f"field 'question' is ' '; {NOT_BLANK}"),
        ({"question": None}, "field 'question' is None; expected a value of type str"),
        ({"answer": 7}, "field 'answer' is 7; expected a value of type str"),
        ({"correct": 1}, "field 'correct' is 1; expected a value of type bool"),
        ({"correct": "yes"}, "field 'correct' is 'yes'; expected a value of type bool"),
        ({"seed": 0.5}, "field 'seed' is 0.5; expected a value of type int"),
        ({"seed": True}, "field 'seed' is True; expected a value of type int"),
        ({"seed": 2**63}, "field 'seed' is 9223372036854775808; expected an integer of 64 bits"),
        ({"policy": ["a"]}, "field 'policy' is ['a']; expected a value of type str"),
        ({"sampling": {"n": 1}}, "field 'sampling' is {'n': 1}; expected a value of type str"),
        ({"source": 0}, "field 'source' is 0; expected a value of type str"),
    ],
)
def test_a_malformed_field_is_named_with_its_value_and_what_is_expected(
    changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(RecordError) as error:
        validate_record(row_with(**changes), where="r.parquet, row 3")
    assert str(error.value) == f"r.parquet, row 3: {complaint}"


@pytest.mark.parametrize("field", ROLLOUT_SCHEMA.names)
def test_a_missing_field_is_named(field: str) -> None:
    row = row_with()
    del row[field]
    with pytest.raises(RecordError) as error:
        validate_record(row, where="a, row 0")
    assert str(error.value) == f"a, row 0: field {field!r} is missing; the row has {', '.join(map(repr, row))}"


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(RecordError) as error:
        validate_record(row_with(answer=list(range(1000))), where="a, row 0")
    assert len(str(error.value)) < 200
    assert "..." in str(error.value)


def test_whole_numbers_are_rewards_too() -> None:
    assert validate_record(row_with(rewards=[[1, 0], [1]]), where="a").rewards == [[1, 0], [1]]


def test_a_row_is_counted_from_zero_in_its_own_file(tmp_path: Path) -> None:
    write_records([make_record(i) for i in range(5)], tmp_path / "a.parquet")
    rows = [vars(make_record(i)) for i in range(1100)]
    rows[1050] = {**rows[1050], "steps": []}  # beyond the first batch
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    with pytest.raises(RecordError) as error:
        list(read_records(tmp_path))
    assert str(error.value) == f"{tmp_path / 'b.parquet'}, row 1050: field 'steps' is []; {LIST_OF_STEPS}"


def test_a_file_without_a_column_names_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["a"], "answer": ["b"]}), tmp_path / "r.parquet")
    with pytest.raises(RecordError, match=r"row 0: field 'problem_id' is missing; the row has 'question', 'answer'"):
        list(read_records(tmp_path / "r.parquet"))


# Fingerprints -----------------------------------------------------------------------------------------------------


def test_the_fingerprint_depends_on_the_content_alone(tmp_path: Path) -> None:
    write_records([make_record(1)], tmp_path / "a.parquet")
    write_records([make_record(1)], tmp_path / "folder" / "b.parquet")
    write_records([make_record(1, seed=2)], tmp_path / "c.parquet")
    same, also, other = (records_fingerprint(tmp_path / name) for name in ("a.parquet", "folder", "c.parquet"))
    assert same == also
    assert same != other


def test_the_content_fingerprint_depends_on_every_record_and_their_order() -> None:
    def records(*seeds: int) -> list[RolloutRecord]:
        return [make_record(1, seed=seed) for seed in seeds]

    assert content_fingerprint(records(1, 2)) == content_fingerprint(iter(records(1, 2)))
    variants = [records(), records(1), records(1, 2), records(2, 1), records(1, 3)]
    assert len({content_fingerprint(variant) for variant in variants}) == len(variants)
