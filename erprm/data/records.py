r"""The rollout record: one sampled solution, its steps, and the raw rewards of the completions of each step.

    {"problem_id": "gsm8k/train/0", "question": "Natalia sold clips ...", "answer": "72", "source": "gsm8k",
     "steps": ["48 / 2 = 24 in May.", "48 + 24 = 72.\n#### 72"],
     "rewards": [[1.0, 0.0, 1.0, 1.0], [1.0]],        # K completions of step 1; the graded outcome of the last step
     "correct": true, "policy": "...", "sampling": "{...}", "seed": 0}

Rewards are stored, labels never are: ``eta`` is chosen when training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from erprm.data.files.hub import is_hub_id, load_hub_dataset
from erprm.data.files.json_rows import Place, RowError
from erprm.data.files.row_files import data_files, hub_rows, parquet_rows, write_parquet
from erprm.runs.atomic import encodable, whole_file
from erprm.runs.identity import file_chunks, sha256_of

__all__ = ["ROLLOUT_SCHEMA", "RecordError", "RolloutRecord", "read_records", "validate_record", "write_records"]

ROLLOUT_SCHEMA = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string()), nullable=False),
        pa.field("rewards", pa.list_(pa.list_(pa.float32())), nullable=False),
        pa.field("correct", pa.bool_(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
        pa.field("sampling", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
    ]
)


class RecordError(RowError):
    """A record that breaks the schema; the message names file, row, field, the value and what is accepted."""


@dataclass(frozen=True)
class RolloutRecord:
    """One solution with the rewards of its steps; the fields are described in the module's docstring.

    ``rewards`` holds one list a step: the outcome rewards, in [0, 1], of the completions of the prefix that ends with
    that step; no reward where the prefix was not completed (see :mod:`erprm.data.labels`). The last list holds the one
    graded outcome of the solution itself.
    """

    problem_id: str
    question: str
    answer: str
    source: str
    steps: list[str]
    rewards: list[list[float]]
    correct: bool
    policy: str
    sampling: str
    seed: int


_PYTHON_TYPES: dict[pa.DataType, type] = {pa.string(): str, pa.bool_(): bool, pa.int64(): int}
_SCALAR_TYPES = {field.name: _PYTHON_TYPES[field.type] for field in ROLLOUT_SCHEMA if field.type in _PYTHON_TYPES}
_FIELDS = tuple(ROLLOUT_SCHEMA.names)
_UNICODE = "a text without halves of surrogate pairs"


def validate_record(row: Mapping[str, Any], *, where: str) -> RolloutRecord:
    """Checks one row and returns it as a record.

    Args:
        row: field name to value; fields beyond the schema's are ignored.
        where: the row's place, such as ``rollouts.parquet, row 17``; opens the message of every error.

    Raises:
        RecordError: if a field is missing, of the wrong type, or holds a value that is not accepted.
    """
    for field in _FIELDS:
        if field not in row:
            raise RecordError(f"{where}: field {field!r} is missing; the row has {', '.join(map(repr, row))}")
    for field, expected_type in _SCALAR_TYPES.items():
        # A bool is an int in Python, but no seed.
        if not isinstance(row[field], expected_type) or (expected_type is int and isinstance(row[field], bool)):
            raise unexpected(field, row[field], f"a value of type {expected_type.__name__}", where)
        if expected_type is str and encodable(row[field]) != row[field]:
            raise unexpected(field, row[field], _UNICODE, where)
    for field in ("problem_id", "question"):
        if not row[field].strip():
            raise unexpected(field, row[field], "a text that is not blank", where)
    if not -(2**63) <= row["seed"] < 2**63:
        raise unexpected("seed", row["seed"], "an integer of 64 bits", where)
    _check_steps(row["steps"], where)
    _check_rewards(row["rewards"], len(row["steps"]), where)
    return RolloutRecord(*[row[field] for field in _FIELDS])


def _check_steps(steps: object, where: str) -> None:
    if not isinstance(steps, list) or not steps:
        raise unexpected("steps", steps, "a list of at least one step", where)
    for number, step in enumerate(steps):
        if not isinstance(step, str) or not step.strip():
            raise unexpected(f"steps[{number}]", step, "a text that is not blank", where)
        if encodable(step) != step:
            raise unexpected(f"steps[{number}]", step, _UNICODE, where)


def _check_rewards(rewards: object, num_steps: int, where: str) -> None:
    if not isinstance(rewards, list):
        raise unexpected("rewards", rewards, "a list", where)
    if len(rewards) != num_steps:
        raise RecordError(
            f"{where}: field 'rewards' has {len(rewards)} list(s); expected one for each of the {num_steps} step(s)"
        )
    for number, step_rewards in enumerate(rewards):
        if not isinstance(step_rewards, list):
            raise unexpected(f"rewards[{number}]", step_rewards, "a list of the completions' rewards", where)
        for k, reward in enumerate(step_rewards):
            is_number = isinstance(reward, (float, int)) and not isinstance(reward, bool)
            if not is_number or not 0.0 <= reward <= 1.0:  # NaN is outside too
                raise unexpected(f"rewards[{number}][{k}]", reward, "a number in [0, 1]", where)
    if len(rewards[-1]) != 1:
        expected = "a list of one reward, the graded outcome, for the last step"
        raise unexpected(f"rewards[{num_steps - 1}]", rewards[-1], expected, where)


def unexpected(field: str, value: object, expected: str, where: str) -> RecordError:
    """The error about a field: its value, shortened, and what would be accepted."""
    return RecordError(f"{where}: field {field!r} is {shortened(repr(value))}; expected {expected}")


def shortened(text: str) -> str:
    """The start of a text, for a message."""
    return text if len(text) <= 80 else text[:77] + "..."


def write_records(records: Iterable[RolloutRecord], path: str | os.PathLike[str]) -> int:
    """Writes records as one Parquet file; rewards are kept as float32.

    The file appears once it is whole: an error on the way, in ``records`` too, leaves an earlier file as it was.

    Returns:
        How many records were written.

    Raises:
        RecordError: at the first record that could not be read back; its row is counted from 0.
    """
    numbered = enumerate(records)
    rows = (vars(validate_record(vars(record), where=f"{path}, row {number}")) for number, record in numbered)
    with whole_file(Path(path)) as file:
        return write_parquet(rows, file, ROLLOUT_SCHEMA)


def read_records(source: str | os.PathLike[str]) -> Iterator[RolloutRecord]:
    """Reads and checks records, a thousand rows at a time.

    Args:
        source: a Parquet file, or the ``train`` split of a folder of them or of the hub id of a data set.

    Raises:
        FileNotFoundError: if there is no such file, folder or data set.
        RecordError: at the first row that breaks the schema (counted from 0).
        ValueError: naming the file, if it is no Parquet file, or damaged.
    """
    name = os.fspath(source)
    if is_hub_id(name):
        parts = [hub_rows(name, "rollout records", reject=_stop)]
    else:
        parts = [parquet_rows(path, _stop) for path in data_files(name, "rollout records")]
    for place, row in chain.from_iterable(parts):
        yield validate_record(row, where=str(place))


def _stop(place: Place, reason: str, row: object) -> NoReturn:
    raise RecordError(f"{place}: {reason}")


def records_fingerprint(source: str | os.PathLike[str]) -> str:
    """Hash of the files (or the hub data set) that :func:`read_records` reads: what a cache made from them depends on.

    Raises:
        FileNotFoundError: if there is no such file, folder or data set.
    """
    if is_hub_id(os.fspath(source)):
        return str(load_hub_dataset(os.fspath(source), "rollout records")._fingerprint)
    return sha256_of(chunk for path in data_files(source, "rollout records") for chunk in file_chunks(path))


def content_fingerprint(records: Iterable[RolloutRecord]) -> str:
    """Hash of records themselves, for records that come from elsewhere than :func:`read_records`."""
    return sha256_of(json.dumps(vars(record), sort_keys=True).encode() for record in records)
