import json
import math
from pathlib import Path
from typing import Any

import pytest

from erprm.data.importers import import_official
from erprm.data.labels import step_labels
from erprm.data.records import RecordError, RolloutRecord, read_records, write_records
from erprm.steps import Solution, StepFormat

TEXT = "What is 3 + 4, doubled? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 14 ки"


def imported(tmp_path: Path, *rows: Any, name: str = "a.jsonl") -> list[RolloutRecord]:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / name).write_text("\n".join(lines) if name.endswith("l") else f"[{', '.join(lines)}]", encoding="utf-8")
    return list(import_official(tmp_path / name))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_row_becomes_a_record_with_one_reward_a_step(tmp_path: Path, name: str) -> None:
    (record,) = imported(tmp_path, {"text": TEXT, "value": [0.25, 1]}, name=name)
    assert record.question == "What is 3 + 4, doubled?"
    assert record.steps == ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 14"]
    assert record.rewards == [[0.25], [1.0]]
    assert (record.answer, record.source, record.correct) == ("", "er_prm", True)


def test_the_step_format_lays_a_record_out_as_the_text_it_came_from(tmp_path: Path) -> None:
    (record,) = imported(tmp_path, {"text": TEXT, "value": [0.25, 1]})
    assert StepFormat.preset("math_shepherd").render(Solution(record.question, record.steps)) == TEXT


@pytest.mark.parametrize("eta", [-math.inf, -2.0, 0.0, 1.0, 8.0, math.inf])
def test_the_labels_survive_at_every_eta(tmp_path: Path, eta: float) -> None:
    (record,) = imported(tmp_path, {"text": TEXT, "value": [0.25, 0.375]})
    assert step_labels(record.rewards, "er", eta) == [0.25, 0.375]


def test_records_of_one_question_share_a_problem(tmp_path: Path) -> None:
    other = TEXT.replace("3 + 4", "3 + 5")
    a, b, c = imported(
        tmp_path, *({"text": text, "value": [0.5, value]} for text, value in ((TEXT, 1), (TEXT, 0), (other, 0)))
    )
    assert a.problem_id == b.problem_id != c.problem_id
    assert [a.correct, b.correct, c.correct] == [True, False, False]


def test_a_step_is_what_ends_with_a_tag_whatever_it_starts_with(tmp_path: Path) -> None:
    text = (
        "Follow Step 1: of the recipe. How many eggs? Step 1: two ки\nso double it ки\n\nStep 7: The answer is: 4 ки\n"
    )
    (record,) = imported(tmp_path, {"text": text, "value": [0.5, 0.5, 1.0]})
    assert record.question == "Follow Step 1: of the recipe. How many eggs?"
    assert record.steps == ["Step 1: two", "so double it", "Step 7: The answer is: 4"]


def test_imported_records_can_be_written(tmp_path: Path) -> None:
    records = imported(tmp_path, {"text": TEXT, "value": [0.25, 1]})
    write_records(records, tmp_path / "r.parquet")
    assert list(read_records(tmp_path / "r.parquet")) == records


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text": TEXT, "value": [1]}, "field 'value' has 1 number(s) for 2 tag(s) in 'text'"),
        ({"text": TEXT, "value": [1, 1, 0]}, "field 'value' has 3 number(s) for 2 tag(s) in 'text'"),
        ({"text": TEXT, "value": []}, "field 'value' has 0 number(s) for 2 tag(s) in 'text'"),
        ({"text": TEXT, "value": 1}, "field 'value' is 1; expected a list of numbers"),
        ({"text": TEXT}, "field 'value' is None; expected a list of numbers"),
        ({"text": TEXT, "value": [0.5, 1.25]}, "field 'value[1]' is 1.25; expected a number in [0, 1]"),
        ({"text": TEXT, "value": [math.nan, 1]}, "field 'value[0]' is nan; expected a number in [0, 1]"),
        ({"text": TEXT, "value": ["+", "-"]}, "field 'value[0]' is '+'; expected a number in [0, 1]"),
        ({"text": TEXT, "value": [True, 1]}, "field 'value[0]' is True; expected a number in [0, 1]"),
        ({"value": [1]}, "field 'text' is None; expected a text"),
        (
            {"text": "What? a ки", "value": [1]},
            "field 'text' is 'What? a ки'; expected a question, 'Step 1:' and a tag 'ки' after each step",
        ),
        (
            {"text": "What? Step 1: a", "value": []},
            "field 'text' is 'What? Step 1: a'; expected a question, 'Step 1:' and a tag 'ки' after each step",
        ),
        (
            {"text": "What? Step 1: a ки\nStep 2: b", "value": [1]},
            "field 'text' ends in '\\nStep 2: b' without a tag 'ки'",
        ),
        (
            {"text": "What? Step 1: a ки ки", "value": [1, 1]},
            "field 'steps[1]' is ''; expected a text that is not blank",
        ),
        ({"text": "Step 1: a ки", "value": [1]}, "field 'question' is ''; expected a text that is not blank"),
    ],
)
def test_a_row_that_cannot_be_imported_is_named(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecordError) as error:
        imported(tmp_path, {"text": TEXT, "value": [0, 1]}, row)
    assert str(error.value) == f"{tmp_path / 'a.jsonl'}, line 2: {complaint}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"official training data: '.*nowhere\.json' does not exist"):
        list(import_official(tmp_path / "nowhere.json"))
