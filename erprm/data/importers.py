"""Step-labelled data of other projects as rollout records.

A finished label ``v`` becomes a step with the single completion reward ``v``: with one reward the entropy-regularized
reward is that reward at every eta, so the label survives unchanged whatever ``eta`` is chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from erprm.data.json_rows import read_json_rows
from erprm.data.records import RecordError, RolloutRecord, validate_record

_OFFICIAL_TAG = "ки"
_FIRST_STEP = "Step 1:"


def import_official(path: str | Path) -> Iterator[RolloutRecord]:
    r"""Reads the official ER-PRM training data, ``.json`` (an array) or ``.jsonl``.

    A row is ``{"text": "<question> Step 1: ... ки\nStep 2: ... ки", "value": [0.2, 1.0]}``, one value a tag. A step is
    what ends with a tag. The data hold no final answers and no outcomes: ``answer`` is empty, and ``correct`` says
    whether the last value is at least 0.5.

    Raises:
        FileNotFoundError: if there is no such file.
        RecordError: naming file, row and field, if a row has no ``Step 1:``, not one value for each tag, text after
            the last tag, or a value outside [0, 1].
    """
    for where, row in read_json_rows(Path(path), "official training data"):
        yield _official_record(row, where)


def _official_record(row: Mapping[str, Any], where: str) -> RolloutRecord:
    text, values = row.get("text"), row.get("value")
    if not isinstance(text, str):
        raise RecordError(f"{where}: field 'text' is {text!r}; expected a text")
    if not isinstance(values, list):
        raise RecordError(f"{where}: field 'value' is {values!r}; expected a list of numbers")
    first, *others, rest = text.split(_OFFICIAL_TAG) if _OFFICIAL_TAG in text else ("", text)
    # The last marker before the first tag: a question may speak of a "Step 1:" of its own.
    question, marker, first_step = first.rpartition(_FIRST_STEP)
    if not marker:
        raise RecordError(
            f"{where}: field 'text' is {_shortened(text)}; expected a question, {_FIRST_STEP!r} and a tag "
            f"{_OFFICIAL_TAG!r} after each step"
        )
    if rest.strip():
        raise RecordError(f"{where}: field 'text' ends in {_shortened(rest)} without a tag {_OFFICIAL_TAG!r}")
    steps = [step.strip() for step in (marker + first_step, *others)]
    if len(values) != len(steps):
        raise RecordError(f"{where}: field 'value' has {len(values)} number(s) for {len(steps)} tag(s) in 'text'")
    for number, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise RecordError(f"{where}: field 'value[{number}]' is {value!r}; expected a number in [0, 1]")
    question = question.strip()
    record = {
        "problem_id": f"er_prm/{hashlib.sha256(question.encode()).hexdigest()[:16]}",
        "question": question,
        "answer": "",
        "source": "er_prm",
        "steps": steps,
        "rewards": [[float(value)] for value in values],
        "correct": values[-1] >= 0.5,
        "policy": "",
        "sampling": "",
        "seed": 0,
    }
    return validate_record(record, where=where)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
