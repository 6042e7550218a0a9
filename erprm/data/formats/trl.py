"""The stepwise supervision layout of TRL, which its PRM trainer (up to TRL 1.13) and axolotl read.

    {"prompt": "What is 3 and 4 more?", "completions": ["3 + 4 = 7.", "The answer is: 8"], "labels": [true, false]}

Labels are booleans, or numbers in [0, 1]; these are kept as they are (TRL's trainer casts them by ``int``, which makes
0.9 a 0). ``correct`` says whether the last label is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from erprm.data.formats.labelled import Row, check_label, labelled_record, list_field, text_field
from erprm.data.records import RecordError, RolloutRecord

FIELDS = ("prompt", "completions", "labels")


def trl_records(row: Row, where: str) -> list[RolloutRecord]:
    """The record in a row, see :data:`erprm.data.formats.labelled.RowParser`."""
    steps = list_field(row, "completions", "texts", where)
    values = list_field(row, "labels", "booleans or numbers", where)
    if len(values) != len(steps):
        raise RecordError(f"{where}: field 'labels' has {len(values)} label(s) for {len(steps)} completion(s)")
    labels = [check_label(value, f"labels[{number}]", where, booleans=True) for number, value in enumerate(values)]
    correct = bool(labels) and labels[-1] >= 0.5
    question = text_field(row, "prompt", where)
    return [labelled_record(question, steps, labels, source="trl", correct=correct, where=where)]


def trl_row(record: RolloutRecord, labels: Sequence[float], threshold: float | None = None) -> dict[str, Any]:
    """The row of a record.

    Args:
        record: what to write.
        labels: one a step.
        threshold: write booleans, whether a label is at least this; None writes the labels themselves.
    """
    written = list(labels) if threshold is None else [label >= threshold for label in labels]
    return {"prompt": record.question, "completions": record.steps, "labels": written}


def trl_schema(threshold: float | None = None) -> pa.Schema:
    """The columns of a Parquet file of such rows."""
    label = pa.float32() if threshold is None else pa.bool_()
    return pa.schema(
        [("prompt", pa.string()), ("completions", pa.list_(pa.string())), ("labels", pa.list_(label))],
    )
