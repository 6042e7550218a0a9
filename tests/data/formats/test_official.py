import math
from pathlib import Path
from typing import Any

import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats import import_official
from erprm.data.formats.official import official_row
from erprm.data.labels import step_labels
from erprm.data.records import RecordError, RolloutRecord, read_records, write_records
from erprm.steps import Solution, StepFormat
from tests.data.formats.rows import write_json
from tests.tiny import make_record

TEXT = "What is 3 + 4, doubled? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 14 ки"
# What the authors' script convert_autoregressive.py writes: tags between the steps alone.
OPEN_TEXT = "What is 3 + 4, doubled? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 14"


def imported(tmp_path: Path, *rows: Any, name: str = "a.jsonl", **options: Any) -> list[RolloutRecord]:
    return list(import_official(write_json(tmp_path / name, *rows), **options))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("text", [TEXT, OPEN_TEXT])
def test_a_row_becomes_a_record_with_one_reward_a_step(tmp_path: Path, name: str, text: str) -> None:
    (record,) = imported(tmp_path, {"text": text, "value": [0.25, 1]}, name=name)
    assert record.question == "What is 3 + 4, doubled?"
    assert record.steps == ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 14"]
    assert record.rewards == [[0.25], [1.0]]
    assert (record.answer, record.source, record.correct) == ("", "er_prm", True)


def test_a_solution_of_one_step_has_no_tag_in_the_files_of_the_script(tmp_path: Path) -> None:
    rows = [{"text": OPEN_TEXT, "value": [0.25, 1]}, {"text": "What is 7? Step 1: The answer is: 8", "value": [0.0]}]
    assert [record.steps for record in imported(tmp_path, *rows)][1] == ["Step 1: The answer is: 8"]


@pytest.mark.parametrize(
    ("texts", "found", "expected"),
    [
        ((TEXT, OPEN_TEXT), "one value more than tags, none after the last step", "a value for each tag"),
        ((OPEN_TEXT, TEXT), "a value for each tag", "one value more than tags, none after the last step"),
    ],
)
def test_a_file_is_of_one_variant(tmp_path: Path, texts: tuple[str, str], found: str, expected: str) -> None:
    with pytest.raises(RowError) as error:
        imported(tmp_path, *({"text": text, "value": [0.25, 1]} for text in texts))
    path = tmp_path / "a.jsonl"
    assert str(error.value) == f"{path}, line 2: has {found}; expected {expected}, as in {path}, line 1"


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


def test_steps_that_are_bare_sentences_can_begin_at_a_line_break(tmp_path: Path) -> None:
    rows = [{"text": "What is 7,\ndoubled?\nTwo times 7 is 14. ки\nThe answer is: 14", "value": [0.5, 1.0]}]
    (record,) = imported(tmp_path, *rows, first_step="\n")
    assert record.question == "What is 7,\ndoubled?"
    assert record.steps == ["Two times 7 is 14.", "The answer is: 14"]


def test_imported_records_can_be_written(tmp_path: Path) -> None:
    records = imported(tmp_path, {"text": TEXT, "value": [0.25, 1]})
    write_records(records, tmp_path / "r.parquet")
    assert list(read_records(tmp_path / "r.parquet")) == records


COUNT = "tag(s) and 2 step(s) in 'text'; expected one for each step"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text": TEXT, "value": [1]}, f"field 'value' has 1 number(s) for 2 {COUNT}"),
        ({"text": TEXT, "value": [1, 1, 0]}, f"field 'value' has 3 number(s) for 2 {COUNT}"),
        ({"text": TEXT, "value": []}, f"field 'value' has 0 number(s) for 2 {COUNT}"),
        ({"text": OPEN_TEXT, "value": [1]}, f"field 'value' has 1 number(s) for 1 {COUNT}"),
        ({"text": TEXT, "value": 1}, "field 'value' is 1; expected a list of numbers"),
        ({"text": TEXT, "value": [0.5, 1.25]}, "field 'value[1]' is 1.25; expected a number in [0, 1]"),
        ({"text": TEXT, "value": [math.nan, 1]}, "field 'value[0]' is nan; expected a number in [0, 1]"),
        ({"text": TEXT, "value": ["+", "-"]}, "field 'value[0]' is '+'; expected a number in [0, 1]"),
        ({"text": TEXT, "value": [True, 1]}, "field 'value[0]' is True; expected a number in [0, 1]"),
        ({"text": None, "value": [1]}, "field 'text' is None; expected a text"),
        (
            {"text": "What? a ки", "value": [1]},
            "field 'text' is 'What? a ки'; expected a question, then 'Step 1:' before the first tag 'ки' "
            "(first_step names another text to begin with)",
        ),
        (
            {"text": "What? Step 1: a ки ки", "value": [1, 1]},
            "field 'steps[1]' is ''; expected a text that is not blank",
        ),
        ({"text": "Step 1: a ки", "value": [1]}, "field 'question' is ''; expected a text that is not blank"),
        (
            {"text": "What\ud800? Step 1: a ки", "value": [1]},
            "field 'text' holds '\\ud800', half of a surrogate pair: was the text cut within a character?",
        ),
    ],
)
def test_a_row_that_cannot_be_imported_is_named(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(RowError) as error:
        # As an escape: half a surrogate pair cannot be written otherwise.
        list(import_official(write_escaped(path, {"text": TEXT, "value": [0, 1]}, row)))
    assert str(error.value) == f"{path}, line 2: {complaint}"


def write_escaped(path: Path, *rows: Any) -> Path:
    import json

    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"rows: '.*nowhere\.json' does not exist"):
        list(import_official(tmp_path / "nowhere.json"))


def test_a_record_becomes_the_row_of_the_readme() -> None:
    record = make_record(0, [[0.0], [1.0]], question="What?", steps=["Step 1: a", "Step 2: b"])
    assert official_row(record, [0.25, 1.0], "here") == {
        "text": "What? Step 1: a ки\nStep 2: b ки",
        "value": [0.25, 1.0],
    }


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [({"steps": ["a", "наки"]}, "steps[1]", "наки"), ({"question": "Какие реки?"}, "question", "Какие реки?")],
)
def test_a_text_with_the_tag_in_it_is_refused(changes: dict[str, Any], field: str, text: str) -> None:
    record = make_record(0, [[0.0], [1.0]], **changes)
    with pytest.raises(RecordError) as error:
        official_row(record, [0.0, 1.0], "here")
    assert str(error.value) == f"here: field {field!r} is {text!r}; it contains the step tag 'ки'"
