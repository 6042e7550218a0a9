r"""Math-Shepherd (arXiv 2312.08935; https://huggingface.co/datasets/peiyi9979/Math-Shepherd).

    {"input": "What is 3 and 4 more? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 8 ки",
     "label": "What is 3 and 4 more? Step 1: 3 + 4 = 7. +\nStep 2: The answer is: 8 -",
     "task": "GSM8K"}

``label`` is ``input`` with each tag replaced by ``+`` (some completion from here was right: a label of 1) or ``-``
(none was: 0). The two are compared letter by letter, since a plus or a minus within a step is no label. ``correct`` is
the label of the last step, and ``task`` goes into ``source``.
"""

from __future__ import annotations

from erprm.data.formats.labelled import Row, labelled_record, text_field
from erprm.data.records import RecordError, RolloutRecord, shortened, unexpected

FIELDS = ("input", "label")
TAG = "ки"
FIRST_STEP = "Step 1:"
_LABELS = {"+": 1.0, "-": 0.0}


def math_shepherd_records(row: Row, where: str) -> list[RolloutRecord]:
    """The record in a row, see :data:`erprm.data.formats.labelled.RowParser`."""
    pieces = text_field(row, "input", where).split(TAG)
    labels = _labels(pieces, text_field(row, "label", where), where)
    *texts, rest = pieces
    if rest.strip():
        raise RecordError(f"{where}: field 'input' ends in {shortened(repr(rest))} without a tag {TAG!r}")
    # The last marker before the first tag: a question may speak of a "Step 1:" of its own.
    question, marker, first_text = texts[0].rpartition(FIRST_STEP) if texts else ("", "", "")
    if not marker:
        raise unexpected("input", row["input"], f"a question, then {FIRST_STEP!r} before the first tag {TAG!r}", where)
    task = row.get("task")
    record = labelled_record(
        question.strip(),
        [step.strip() for step in (marker + first_text, *texts[1:])],
        labels,
        source=f"math_shepherd/{task}" if isinstance(task, str) and task else "math_shepherd",
        correct=labels[-1] == 1.0,
        where=where,
    )
    return [record]


def _labels(pieces: list[str], labelled: str, where: str) -> list[float]:
    """Labels in the labelled text, read from the places of the tags between the pieces."""
    labels: list[float] = []
    position = 0
    for piece in pieces[:-1]:
        position += len(piece)
        mark = labelled[position : position + 1]
        if not labelled.startswith(piece, position - len(piece)) or mark not in _LABELS:
            break
        labels.append(_LABELS[mark])
        position += 1
    else:
        if labelled[position:] == pieces[-1]:
            return labels
    raise RecordError(
        f"{where}: field 'label' departs from 'input' at {shortened(repr(labelled[max(0, position - 20) :]))} after "
        f"{len(labels)} label(s); expected the same text with '+' or '-' for each tag {TAG!r}"
    )
