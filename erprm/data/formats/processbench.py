"""ProcessBench (arXiv 2412.06559; https://huggingface.co/datasets/Qwen/ProcessBench).

    {"id": "gsm8k-3", "generator": "Qwen2-7B-Instruct", "problem": "What is 3 and 4 more, doubled?",
     "steps": ["3 + 4 = 7.", "7 * 2 = 15.", "So it is 15."], "final_answer_correct": false, "label": 1}

``label`` is the earliest wrong step, counted from 0, or -1 if no step is wrong. So the steps before it are right (1),
that step is wrong (0), and nothing is said of those after it: the record ends with the wrong step. ``correct`` is
``final_answer_correct``, or, where that is missing, whether no step is wrong.
"""

from __future__ import annotations

from erprm.data.formats.labelled import Row, labelled_record, list_field, text_field
from erprm.data.records import RolloutRecord, unexpected

FIELDS = ("problem", "steps", "label")


def processbench_records(row: Row, where: str) -> list[RolloutRecord]:
    """The record in a row, see :data:`erprm.data.formats.labelled.RowParser`."""
    steps, label = steps_and_label(row, where)
    correct = row.get("final_answer_correct", label == -1)
    if not isinstance(correct, bool):
        raise unexpected("final_answer_correct", correct, "true or false", where)
    labels = labels_up_to(label, len(steps))
    question = text_field(row, "problem", where)
    return [
        labelled_record(question, steps[: len(labels)], labels, source="processbench", correct=correct, where=where)
    ]


def steps_and_label(row: Row, where: str) -> tuple[list[str], int]:
    """All steps of a row, and the earliest wrong one, -1 for none.

    Raises:
        RecordError: if they are something else.
    """
    steps = list_field(row, "steps", "texts", where)
    label = row["label"]
    if not isinstance(label, int) or isinstance(label, bool) or not -1 <= label < len(steps):
        raise unexpected("label", label, f"-1 or the number of one of the {len(steps)} step(s), from 0", where)
    return steps, label


def labels_up_to(label: int, n_steps: int) -> list[float]:
    """Labels of the steps up to and with the wrong one, of all of them if none is wrong."""
    return [1.0] * n_steps if label == -1 else [1.0] * label + [0.0]
