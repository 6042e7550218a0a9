import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erprm.data.record_columns import RecordColumns
from erprm.data.records import ROLLOUT_SCHEMA, RecordError, records_of_batch, validate_record
from tests.tiny import make_record

RIGHT = vars(make_record(rewards=[[1.0, 0.0], [1.0]]))
WRONG: list[dict[str, Any]] = [
    {"steps": []},
    {"steps": [], "rewards": []},
    {"steps": ["a"]},
    {"steps": ["a", " \u2003\x1c"]},
    {"rewards": [[1.0]]},
    {"rewards": [[1.0], []]},
    {"rewards": [[1.0], [1.0, 0.0]]},
    {"rewards": [[1.0], [1.5]]},
    {"rewards": [[1.0], [-0.5]]},
    {"rewards": [[1.0], [math.nan]]},
    {"question": "\u00a0"},
    {"problem_id": ""},
]
# Of a type that an Arrow column of the schema cannot have.
WRONG_TYPES: list[dict[str, Any]] = [
    {"seed": True},
    {"seed": 0.5},
    {"seed": 2**63},
    {"correct": 1},
    {"policy": None},
    {"steps": ["a", 5]},
    {"steps": ("a", "b")},
    {"steps": "ab"},
    {"rewards": [[1.0], 1.0]},
    {"rewards": [[1.0], [True]]},
    {"rewards": [[1.0], ["1"]]},
    {"rewards": None},
    {"question": "\ud800"},
]


def is_accepted(row: dict[str, Any]) -> bool:
    try:
        validate_record(row, where="here")
    except RecordError:
        return False
    return True


def fits_columns(rows: list[dict[str, Any]]) -> bool:
    columns = RecordColumns.of_rows(rows)
    if columns is None or not columns.all_right():
        return False
    try:
        columns.to_batch(ROLLOUT_SCHEMA)
    except (ValueError, OverflowError):
        return False
    return True


def test_right_rows_are_right_as_columns() -> None:
    assert is_accepted(RIGHT)
    assert fits_columns([RIGHT, RIGHT])


@pytest.mark.parametrize("change", [*WRONG, *WRONG_TYPES])
def test_what_a_row_must_not_be_a_column_must_not_hold(change: dict[str, Any]) -> None:
    row = {**RIGHT, **change}
    assert not is_accepted(row)
    assert not fits_columns([RIGHT, row, RIGHT])


@pytest.mark.parametrize("change", WRONG)
def test_a_batch_with_a_wrong_row_is_not_right_and_the_row_is_named(change: dict[str, Any]) -> None:
    rows = [RIGHT, {**RIGHT, **change}]
    batch = pa.RecordBatch.from_pylist(rows, schema=ROLLOUT_SCHEMA)
    columns = RecordColumns.of_batch(batch)
    assert columns is not None
    assert not columns.all_right()
    with pytest.raises(RecordError, match=r"^r\.parquet, row 8: field "):
        list(records_of_batch(batch, "r.parquet", first_row=7))


@pytest.mark.parametrize("sliced", [(0, 5), (1, 3), (2, 2), (4, 1)])
def test_a_part_of_a_batch_gives_its_own_records(sliced: tuple[int, int]) -> None:
    records = [make_record(i, [[0.25] * (k + 1) for k in range(i)] + [[1.0]]) for i in range(5)]
    batch = pa.RecordBatch.from_pylist([vars(record) for record in records], schema=ROLLOUT_SCHEMA).slice(*sliced)
    assert list(records_of_batch(batch, "r.parquet")) == records[sliced[0] : sum(sliced)]


@pytest.mark.parametrize(
    "kind",
    [
        {"steps": pa.large_list(pa.large_string()), "question": pa.large_string()},
        {"rewards": pa.list_(pa.list_(pa.float64())), "seed": pa.int32()},
        {"rewards": pa.list_(pa.list_(pa.int64()))},
        {"question": pa.dictionary(pa.int32(), pa.string())},
    ],
)
def test_columns_of_kindred_types_are_read_all_the_same(kind: dict[str, pa.DataType]) -> None:
    schema = pa.schema([(name, kind.get(name, ROLLOUT_SCHEMA.field(name).type)) for name in ROLLOUT_SCHEMA.names])
    batch = pa.RecordBatch.from_pylist([RIGHT, RIGHT], schema=schema)
    assert [vars(record) for record in records_of_batch(batch, "r.parquet")] == [RIGHT, RIGHT]


rewards = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=4)


@given(st.lists(st.lists(rewards, max_size=3), min_size=1, max_size=6))
def test_columns_give_back_the_rows_they_were_made_of(solutions: list[list[list[float]]]) -> None:
    rows = [vars(make_record(i, [*steps, [1.0]])) for i, steps in enumerate(solutions)]
    columns = RecordColumns.of_rows(rows)
    assert columns is not None
    assert columns.all_right()
    assert columns.to_batch(ROLLOUT_SCHEMA).to_pylist() == rows
    steps, rewards_of = columns.lists()
    assert [(row["steps"], row["rewards"]) for row in rows] == list(zip(steps, rewards_of, strict=True))
