"""Records of solutions whose steps come with finished labels.

A label ``v`` becomes a step with the single completion reward ``v``: with one reward the entropy-regularized reward is
that reward at every eta, so the label survives unchanged whatever ``eta`` is chosen. It is kept as float32.

A record has a reward for every step. Where a layout leaves steps without a label, the solution is cut before the first
of them: no label is made up, and none is lost but those behind the gap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from erprm.data.records import RolloutRecord, unexpected, validate_record

Row = Mapping[str, Any]
RowParser = Callable[[Row, str], list[RolloutRecord]]
"""Takes a row and its place for messages; gives the records in it, none if it has no label."""


def labelled_record(
    question: str,
    steps: Sequence[str],
    labels: Sequence[float],
    *,
    source: str,
    correct: bool,
    where: str,
    answer: str = "",
) -> RolloutRecord:
    """One record; records with the same question share a problem id.

    Args:
        question: text of the problem.
        steps: at least one.
        labels: one a step, in [0, 1].
        source: name of the data, such as ``math_shepherd``; opens the problem's id.
        correct: whether the solution's final answer is right.
        where: the row's place, for messages.
        answer: the problem's final answer.

    Raises:
        RecordError: if question or steps are blank, or a label is out of range.
    """
    # Half a surrogate pair has no bytes; the check below names it.
    digest = hashlib.sha256(question.strip().encode(errors="replace")).hexdigest()
    record = {
        "problem_id": f"{source}/{digest[:16]}",
        "question": question,
        "answer": answer,
        "source": source,
        "steps": list(steps),
        "rewards": [[float(label)] for label in labels],
        "correct": correct,
        "policy": "",
        "sampling": "",
        "seed": 0,
    }
    return validate_record(record, where=where)


def text_field(row: Row, field: str, where: str) -> str:
    """The text in a field.

    Raises:
        RecordError: if it is something else.
    """
    if not isinstance(row[field], str):
        raise unexpected(field, row[field], "a text", where)
    return str(row[field])


def list_field(row: Row, field: str, kind: str, where: str) -> list[Any]:
    """The list in a field; ``kind`` says in messages of what.

    Raises:
        RecordError: if it is something else.
    """
    if not isinstance(row[field], list):
        raise unexpected(field, row[field], f"a list of {kind}", where)
    return list(row[field])


def check_label(value: object, field: str, where: str, *, booleans: bool = False) -> float:
    """A label as a number.

    Raises:
        RecordError: if it is not a number in [0, 1] and, where these are allowed, no boolean either.
    """
    allowed = isinstance(value, int | float) and (booleans or not isinstance(value, bool))
    if not allowed or not 0 <= value <= 1:  # type: ignore[operator]  # NaN is outside too
        raise unexpected(field, value, "a number in [0, 1]" + (", true or false" if booleans else ""), where)
    return float(value)  # type: ignore[arg-type]
