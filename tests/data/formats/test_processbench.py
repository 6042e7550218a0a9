from pathlib import Path
from typing import Any

import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats import import_processbench
from tests.data.formats.rows import write_json

ROW = {"id": "gsm8k-3", "problem": "What?", "steps": ["a", "b", "c"], "final_answer_correct": False, "label": 1}


@pytest.mark.parametrize(
    ("label", "steps", "rewards"),
    [
        (-1, ["a", "b", "c"], [[1.0], [1.0], [1.0]]),
        (0, ["a"], [[0.0]]),
        (1, ["a", "b"], [[1.0], [0.0]]),
        (2, ["a", "b", "c"], [[1.0], [1.0], [0.0]]),
    ],
)
def test_a_record_ends_with_the_earliest_wrong_step(
    tmp_path: Path, label: int, steps: list[str], rewards: list[list[float]]
) -> None:
    (record,) = import_processbench(write_json(tmp_path / "a.jsonl", {**ROW, "label": label}))
    assert (record.question, record.steps, record.rewards) == ("What?", steps, rewards)


@pytest.mark.parametrize(("fields", "correct"), [({"final_answer_correct": True}, True), ({}, False)])
def test_correct_is_what_the_row_says_of_the_final_answer(
    tmp_path: Path, fields: dict[str, bool], correct: bool
) -> None:
    (record,) = import_processbench(write_json(tmp_path / "a.jsonl", {**ROW, **fields}))
    assert record.correct is correct


def test_without_a_word_on_the_final_answer_a_solution_is_right_if_no_step_is_wrong(tmp_path: Path) -> None:
    rows = [{"problem": "What?", "steps": ["a"], "label": label} for label in (-1, 0)]
    assert [record.correct for record in import_processbench(write_json(tmp_path / "a.jsonl", *rows))] == [True, False]


def test_the_published_part_is_read_whole(shared_data: Path) -> None:
    records = list(import_processbench(shared_data / "processbench_gsm8k.jsonl"))
    # Counted in the file: 177 rows, 97 of them with label -1; 100 with a right final answer, in spite of 3 wrong steps.
    assert len(records) == 177
    assert sum(record.rewards[-1] == [1.0] for record in records) == 97
    assert sum(record.correct for record in records) == 100


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"label": 3}, "field 'label' is 3; expected -1 or the number of one of the 3 step(s), from 0"),
        ({"label": -2}, "field 'label' is -2; expected -1 or"),
        ({"label": "1"}, "field 'label' is '1'; expected -1 or"),
        ({"label": True}, "field 'label' is True; expected -1 or"),
        ({"label": 1.0}, "field 'label' is 1.0; expected -1 or"),
        ({"steps": "a"}, "field 'steps' is 'a'; expected a list of texts"),
        ({"steps": ["a", 2, "c"]}, "field 'steps[1]' is 2; expected a text that is not blank"),
        ({"steps": [], "label": -1}, "field 'steps' is []; expected a list of at least one step"),
        ({"problem": 7}, "field 'problem' is 7; expected a text"),
        ({"final_answer_correct": "yes"}, "field 'final_answer_correct' is 'yes'; expected true or false"),
    ],
)
def test_a_row_that_cannot_be_imported_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = write_json(tmp_path / "a.jsonl", ROW, {**ROW, **changes})
    with pytest.raises(RowError) as error:
        list(import_processbench(path))
    assert str(error.value).startswith(f"{path}, line 2: {complaint}")
