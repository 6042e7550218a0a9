from pathlib import Path
from typing import Any

import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats import import_math_shepherd
from tests.data.formats.rows import write_json

QUESTION = "What is 3 + 4, less 2?"
ROW = {
    "input": f"{QUESTION} Step 1: 3 + 4 = 7. ки\nStep 2: 7 - 2 = 5 - the answer is: 5 ки",
    "label": f"{QUESTION} Step 1: 3 + 4 = 7. +\nStep 2: 7 - 2 = 5 - the answer is: 5 -",
    "task": "GSM8K",
}


def test_a_row_becomes_a_record_with_one_label_a_step(tmp_path: Path) -> None:
    (record,) = import_math_shepherd(write_json(tmp_path / "a.jsonl", ROW))
    assert record.question == QUESTION
    assert record.steps == ["Step 1: 3 + 4 = 7.", "Step 2: 7 - 2 = 5 - the answer is: 5"]
    assert record.rewards == [[1.0], [0.0]]
    assert (record.source, record.correct) == ("math_shepherd/GSM8K", False)


def test_a_row_needs_no_task(tmp_path: Path) -> None:
    (record,) = import_math_shepherd(write_json(tmp_path / "a.jsonl", {k: ROW[k] for k in ("input", "label")}))
    assert record.source == "math_shepherd"


def test_the_published_samples_are_read_with_the_labels_they_show(shared_data: Path) -> None:
    records = list(import_math_shepherd(shared_data / "step_samples/samples_math-shepherd.jsonl"))
    # What the lines of the file's "label" texts end in.
    assert [[step[0] for step in record.rewards] for record in records] == [
        [1, 1, 1, 1, 0],
        [0, 0, 0],
        [0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0],
        [0, 0, 0],
    ]
    assert all(record.steps[0].startswith("Step 1: ") for record in records)
    assert records[0].steps[-1] == (
        "Step 5: She spends 260 * 52 = <<260*52=13520>>13520 on music lessons in a year. The answer is: 13520"
    )


def changed(**changes: Any) -> dict[str, Any]:
    return {**ROW, **changes}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            changed(label=ROW["label"].replace("7. +", "7. 1")),
            "field 'label' departs from 'input' at ' Step 1: 3 + 4 = 7. 1\\nStep 2: 7 - 2",
        ),
        (changed(label=ROW["label"].replace("3 + 4 = 7", "3 + 4 = 8")), "field 'label' departs from 'input' at"),
        (changed(label=ROW["label"] + " +"), "field 'label' departs from 'input' at"),
        (
            changed(label=ROW["label"][:-1]),
            "after 1 label(s); expected the same text with '+' or '-' for each tag 'ки'",
        ),
        (changed(label=["+", "-"]), "field 'label' is ['+', '-']; expected a text"),
        (changed(input=None), "field 'input' is None; expected a text"),
        (
            changed(input=ROW["input"][:-3], label=ROW["label"][:-2]),
            "field 'input' ends in '\\nStep 2: 7 - 2 = 5 - the answer is: 5' without a tag 'ки'",
        ),
        (
            changed(input="What? a ки Step 1: b ки", label="What? a + Step 1: b +"),
            "field 'input' is 'What? a ки Step 1: b ки'; expected a question, then 'Step 1:' before the first tag 'ки'",
        ),
        (changed(input="What?", label="What?"), "field 'input' ends in 'What?' without a tag 'ки'"),
        (changed(input=" ", label=" "), "field 'input' is ' '; expected a question, then 'Step 1:'"),
    ],
)
def test_a_row_that_cannot_be_imported_is_named(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    path = write_json(tmp_path / "a.jsonl", ROW, row)
    with pytest.raises(RowError) as error:
        list(import_math_shepherd(path))
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert complaint in str(error.value)
