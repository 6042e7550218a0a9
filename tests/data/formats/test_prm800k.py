import json
from pathlib import Path
from typing import Any

import pytest

from erprm.data.files.json_rows import RowError
from erprm.data.formats import RecordImport, import_prm800k
from erprm.data.formats.prm800k import prm800k_parser
from tests.data.formats.rows import write_json


def completion(text: str, rating: int | None) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": False}


def step(*completions: dict[str, Any], chosen: int | None = 0, human: str | None = None) -> dict[str, Any]:
    written = None if human is None else {"text": human, "rating": None, "source": "human", "flagged": False}
    return {"completions": list(completions), "human_completion": written, "chosen_completion": chosen}


def row(*steps: dict[str, Any], finish_reason: str = "solution") -> dict[str, Any]:
    return {
        "question": {"problem": "What is 3 and 4 more?", "ground_truth_answer": "7"},
        "label": {"steps": list(steps), "finish_reason": finish_reason},
    }


def solutions(tmp_path: Path, *steps: dict[str, Any], **options: Any) -> list[tuple[str, list[float]]]:
    records = import_prm800k(write_json(tmp_path / "a.jsonl", row(*steps)), **options)
    return [("|".join(record.steps), [reward for (reward,) in record.rewards]) for record in records]


# The example of the module: all completions wrong or neutral, so that the labeler wrote the step.
HUMAN = (
    step(completion("bad", -1), completion("hm", 0), chosen=None, human="good"),
    step(completion("end\n\n# Answer\n\n7", 1)),
)


def test_chosen_steps_are_one_record_and_every_other_rated_completion_is_one_more(tmp_path: Path) -> None:
    assert solutions(tmp_path, *HUMAN) == [
        ("good|end\n\n# Answer\n\n7", [1.0, 1.0]),
        ("bad", [0.0]),
        ("hm", [1.0]),
    ]
    assert solutions(tmp_path, *HUMAN, alternatives=False) == [("good|end\n\n# Answer\n\n7", [1.0, 1.0])]


@pytest.mark.parametrize(("neutral", "label"), [(1.0, 1.0), (0.0, 0.0), (0.5, 0.5)])
def test_a_neutral_rating_has_the_label_that_is_set(tmp_path: Path, neutral: float, label: float) -> None:
    steps = [step(completion("a", 1)), step(completion("b", 0)), step(completion("c", -1))]
    assert solutions(tmp_path, *steps, neutral=neutral) == [("a|b|c", [1.0, label, 0.0])]


def test_a_chosen_step_without_a_label_ends_the_solution_before_it(tmp_path: Path) -> None:
    steps = [step(completion("a", 1)), step(completion("b", 0)), step(completion("c", -1))]
    assert solutions(tmp_path, *steps, neutral=None) == [("a", [1.0])]
    steps[1] = step(completion("b", None), completion("other", -1), completion("none", None))
    # The alternative has the step before it in it.
    assert solutions(tmp_path, *steps) == [("a|other", [1.0, 0.0])]
    assert solutions(tmp_path, *steps, alternatives=False) == [("a", [1.0])]


def test_a_solution_ends_at_its_first_wrong_step_where_nothing_was_chosen(tmp_path: Path) -> None:
    steps = [step(completion("a", 1)), step(completion("b", -1), completion("c", 1), chosen=None)]
    assert solutions(tmp_path, *steps) == [("a|b", [1.0, 0.0]), ("a|c", [1.0, 1.0])]
    assert solutions(tmp_path, *steps, alternatives=False) == [("a|b", [1.0, 0.0])]


def test_a_solution_that_was_given_up_keeps_the_steps_with_labels(tmp_path: Path) -> None:
    assert solutions(tmp_path, step(completion("a", 1)), step(chosen=None)) == [("a", [1.0])]


def test_a_row_without_labels_gives_no_record_and_is_counted(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.jsonl", row(), row(step(chosen=None)), row(*HUMAN))
    records = RecordImport(path)
    assert [len(record.steps) for record in records] == [2, 1, 1]
    assert (records.rows, records.rows_without_label) == (3, 2)


def test_a_record_is_right_if_it_ends_in_an_answer_that_was_not_rated_wrong(tmp_path: Path) -> None:
    answer = "\n\n# Answer\n\n7"
    steps = step(completion("a", 1), completion(f"b{answer}", -1), completion(f"c{answer}", 1), chosen=0)
    records = import_prm800k(write_json(tmp_path / "a.jsonl", row(steps)))
    assert [(record.steps[0][0], record.correct) for record in records] == [("a", False), ("b", False), ("c", True)]
    assert record_answers(tmp_path, "7") == ["7"]
    assert record_answers(tmp_path, None) == [""]


def record_answers(tmp_path: Path, answer: str | None) -> list[str]:
    rows = row(step(completion("a", 1)))
    rows["question"]["ground_truth_answer"] = answer
    return [record.answer for record in import_prm800k(write_json(tmp_path / "a.jsonl", rows))]


def test_every_label_of_the_published_samples_is_there_once_as_a_last_step_or_among_the_chosen(
    shared_data: Path,
) -> None:
    path = shared_data / "step_samples/samples_prm800k.jsonl"
    counted = {-1: 0, 0: 0, 1: 0}
    human = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        for labelled in json.loads(line)["label"]["steps"]:
            human += labelled["human_completion"] is not None
            for rated in labelled["completions"] or []:
                counted[rated["rating"]] += 1
    assert (counted, human) == ({-1: 15, 0: 3, 1: 55}, 2)
    records = list(import_prm800k(path, neutral=0.5))
    assert len(records) == 36
    assert len(list(import_prm800k(path, neutral=0.5, alternatives=False))) == 6
    last_labels = [record.rewards[-1][0] for record in records]
    assert last_labels.count(0.0) == 15


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"question": "What?"}, "field 'question' is 'What?'; expected an object with the key 'problem'"),
        ({"question": {"problem": 7}}, "field 'question.problem' is 7; expected a text"),
        ({"label": {}}, "field 'label' is {}; expected an object with the key 'steps'"),
        ({"label": {"steps": 7}}, "field 'label.steps' is 7; expected a list"),
        ({"label": {"steps": [7]}}, "field 'label.steps[0]' is 7; expected an object with the key 'completions'"),
        (
            {"label": {"steps": [step("a")]}},  # type: ignore[arg-type]
            "field 'label.steps[0].completions[0]' is 'a'; expected an object with a text under 'text'",
        ),
        (
            {"label": {"steps": [step(completion("a", 2))]}},
            "field 'label.steps[0].completions[0].rating' is 2; expected -1, 0, 1 or null",
        ),
        (
            {"label": {"steps": [step({"text": "a", "rating": "1"})]}},
            "field 'label.steps[0].completions[0].rating' is '1'; expected -1, 0, 1 or null",
        ),
        (
            {"label": {"steps": [step({"text": "a", "rating": True})]}},
            "field 'label.steps[0].completions[0].rating' is True; expected -1, 0, 1 or null",
        ),
        (
            {"label": {"steps": [step(completion("a", 1), chosen=1)]}},
            "field 'label.steps[0].chosen_completion' is 1; expected null or the number of one of 1 completion(s), "
            "from 0",
        ),
        (
            {"label": {"steps": [{"completions": [], "human_completion": "a", "chosen_completion": None}]}},
            "field 'label.steps[0].human_completion' is 'a'; expected null or an object with a text under 'text'",
        ),
        (
            {"label": {"steps": [step(completion(" ", 1))]}},
            "field 'steps[0]' is ' '; expected a text that is not blank",
        ),
    ],
)
def test_a_row_that_cannot_be_imported_is_named(tmp_path: Path, wrong: dict[str, Any], complaint: str) -> None:
    path = write_json(tmp_path / "a.jsonl", row(*HUMAN), {**row(*HUMAN), **wrong})
    with pytest.raises(RowError) as error:
        list(import_prm800k(path))
    assert str(error.value) == f"{path}, line 2: {complaint}"


@pytest.mark.parametrize("neutral", [-0.1, 1.5])
def test_a_neutral_label_out_of_range_is_refused(neutral: float) -> None:
    with pytest.raises(ValueError, match=rf"neutral is {neutral}; it must be null or a number in \[0, 1\]"):
        prm800k_parser(neutral)
