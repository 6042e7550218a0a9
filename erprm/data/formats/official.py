r"""The training data of the paper's authors: https://github.com/hanningzhang/ER-PRM, commit 5a996d4.

What its README asks for, a tag after every step and one value for each tag:

    {"text": "What is 3 and 4 more? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 7 ки", "value": [0.8, 1.0]}

What its script ``MCTS/convert_autoregressive.py`` writes, tags only between steps, so that there is one value more
than there are tags (and the last label is never trained on there; here it is kept):

    {"text": "What is 3 and 4 more? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 7", "value": [0.8, 1.0]}

The first row of a file decides which of the two it is. The data hold no final answers and no outcomes: ``answer`` is
empty, and ``correct`` says whether the last value is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erprm.data.formats.labelled import (
    Row,
    RowParser,
    check_label,
    labelled_record,
    list_field,
    text_field,
)
from erprm.data.records import RecordError, RolloutRecord, shortened

FIELDS = ("text", "value")
TAG = "ки"
FIRST_STEP = "Step 1:"
_CLOSED, _OPEN = "a value for each tag", "one value more than tags, none after the last step"


def official_parser(first_step: str = FIRST_STEP) -> RowParser:
    r"""Parser of the rows of one file.

    Args:
        first_step: text with which the first step begins. The question ends where it stands last before the first tag:
            a question may speak of a "Step 1:" of its own. Data whose steps are bare sentences, as the authors' scripts
            split them, have none; ``"\n"`` fits where a line break ends the question.
    """
    variant, seen_at = "", ""

    def records(row: Row, where: str) -> list[RolloutRecord]:
        nonlocal variant, seen_at
        text = text_field(row, "text", where)
        values = list_field(row, "value", "numbers", where)
        question, steps, ends_in_tag = _split(text, first_step, where)
        num_tags = len(steps) if ends_in_tag else len(steps) - 1
        if len(values) != len(steps):
            raise RecordError(
                f"{where}: field 'value' has {len(values)} number(s) for {num_tags} tag(s) and {len(steps)} step(s) in "
                "'text'; expected one for each step"
            )
        found = _CLOSED if ends_in_tag else _OPEN
        if variant and found != variant:
            raise RecordError(f"{where}: has {found}; expected {variant}, as in {seen_at}")
        labels = [check_label(value, f"value[{number}]", where) for number, value in enumerate(values)]
        record = labelled_record(question, steps, labels, source="er_prm", correct=labels[-1] >= 0.5, where=where)
        variant, seen_at = found, seen_at or where
        return [record]

    return records


def _split(text: str, first_step: str, where: str) -> tuple[str, list[str], bool]:
    """Question, steps, and whether a tag stands after the last of them."""
    first, *others = text.split(TAG)
    question, marker, first_text = first.rpartition(first_step)
    if not marker:
        raise RecordError(
            f"{where}: field 'text' is {shortened(repr(text))}; expected a question, then {first_step!r} before the "
            f"first tag {TAG!r} (first_step names another text to begin with)"
        )
    steps = [step.strip() for step in (marker + first_text, *others)]
    ends_in_tag = bool(others) and not steps[-1]
    return question.strip(), steps[:-1] if ends_in_tag else steps, ends_in_tag


def official_row(record: RolloutRecord, labels: Sequence[float], where: str) -> dict[str, Any]:
    """The row of a record, as the README describes it.

    Args:
        record: what to write.
        labels: one a step.
        where: the record's place, for messages.

    Raises:
        RecordError: if the text contains a tag: a reader of the row would count one step too many.
    """
    for field, text in (("question", record.question), *((f"steps[{i}]", step) for i, step in enumerate(record.steps))):
        if TAG in text:
            raise RecordError(f"{where}: field {field!r} is {shortened(repr(text))}; it contains the step tag {TAG!r}")
    steps = f" {TAG}\n".join(record.steps)
    return {"text": f"{record.question} {steps} {TAG}", "value": list(labels)}
