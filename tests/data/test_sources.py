import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from erprm.data.sources import Problem, load_problems, validation_problems


def jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# GSM8K ------------------------------------------------------------------------------------------------------------


def test_gsm8k_answers_are_the_numbers_after_the_hashes(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        [
            {"question": "How many clips?", "answer": "48/2 = <<48/2=24>>24 in May.\n#### 72"},
            {"question": "How much?", "answer": "It is a lot.\n#### 1,450,000"},
        ],
    )
    assert load_problems("gsm8k", path, split="test") == [
        Problem("gsm8k/test/0", "How many clips?", "72", "gsm8k"),
        Problem("gsm8k/test/1", "How much?", "1450000", "gsm8k"),
    ]


@pytest.mark.parametrize(("file", "count"), [("gsm8k_test.jsonl", 1319), ("gsm8k_train.jsonl", 7473)])
def test_every_gsm8k_gold_is_the_text_after_its_hashes(shared_data: Path, file: str, count: int) -> None:
    problems = load_problems("gsm8k", str(shared_data / file))
    rows = [json.loads(line) for line in (shared_data / file).read_text(encoding="utf-8").splitlines()]
    assert len(problems) == len(rows) == count
    for problem, row in zip(problems, rows, strict=True):
        assert problem.question == row["question"]
        assert problem.answer == row["answer"].rpartition("#### ")[2].replace(",", "")


# MATH -------------------------------------------------------------------------------------------------------------


def test_math_answers_come_from_answer_then_final_answer_then_the_box_of_the_solution(tmp_path: Path) -> None:
    solution = r"We get $\frac{1}{4}$, so \boxed{\frac{3}{4}}."
    path = jsonl(
        tmp_path / "a.jsonl",
        [
            {"problem": "p0", "solution": solution, "answer": "0.75"},
            {"problem": "p1", "final_answer": r"\frac12"},
            {"problem": "p2", "solution": solution},
            {"problem": "p3", "solution": solution, "answer": "", "final_answer": None},
        ],
    )
    assert [problem.answer for problem in load_problems("math", path)] == [
        "0.75",
        r"\frac12",
        r"\frac{3}{4}",
        r"\frac{3}{4}",
    ]


def test_math500_is_read_whole_with_its_golds(shared_data: Path) -> None:
    problems = load_problems("math", str(shared_data / "math500.jsonl"), split="test")
    rows = [json.loads(line) for line in (shared_data / "math500.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(p.question, p.answer) for p in problems] == [(row["problem"], row["answer"]) for row in rows]
    assert [p.problem_id for p in problems] == [f"math/test/{i}" for i in range(500)]


def test_the_two_math_problems_without_an_answer_are_left_out_and_counted(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = shared_data / "math_train_answers.json"
    with caplog.at_level(logging.WARNING):
        problems = load_problems("math", str(path))
    assert len(problems) == 7498
    assert caplog.messages == [f"2 problem(s) without a final answer left out, the first at {path}, element 2301"]
    # Ids number the rows of the file, so they stay the same if an answer is added.
    assert [p.problem_id for p in problems[2299:2301]] == ["math/train/2299", "math/train/2301"]


# JSONL ------------------------------------------------------------------------------------------------------------


def test_jsonl_answers_are_taken_as_they_are(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        [
            {"question": "q0", "answer": "it is #### 5 or so", "problem_id": "mine/7", "source": "exam"},
            {"problem": "q1", "answer": 0, "problem_id": 0},
            {"question": "q2", "answer": 2.5, "problem_id": ""},
        ],
    )
    assert load_problems("jsonl", path) == [
        Problem("mine/7", "q0", "it is #### 5 or so", "exam"),
        Problem("0", "q1", "0", "jsonl"),
        Problem("jsonl/train/2", "q2", "2.5", "jsonl"),
    ]


def test_a_limit_takes_the_first_problems_that_have_an_answer(tmp_path: Path) -> None:
    answers = ["", "1", "2", "3"]
    path = jsonl(tmp_path / "a.jsonl", [{"question": f"q{i}", "answer": a} for i, a in enumerate(answers)])
    assert [problem.question for problem in load_problems("jsonl", path, limit=2)] == ["q1", "q2"]


def test_a_hub_data_set_is_asked_for_by_its_id_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[object, ...]] = []

    def hub(hub_id: str, config: str | None, *, split: str) -> datasets.Dataset:
        asked.append((hub_id, config, split))
        return datasets.Dataset.from_list([{"question": "q", "answer": "#### 3"}])

    # Only the download is replaced: the suite runs without the hub.
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert load_problems("gsm8k", split="test") == [Problem("gsm8k/test/0", "q", "3", "gsm8k")]
    assert load_problems("gsm8k", "me/mine") == [Problem("gsm8k/train/0", "q", "3", "gsm8k")]
    assert asked == [("openai/gsm8k", "main", "test"), ("me/mine", None, "train")]


# Bad input --------------------------------------------------------------------------------------------------------


ANSWERED = {"question": "q", "answer": "1"}


@pytest.mark.parametrize(
    ("source", "rows", "message"),
    [
        (
            "jsonl",
            [ANSWERED, {"answer": "1"}],
            r"line 2: the question is None; expected a text under 'question' or 'pro",
        ),
        (
            "gsm8k",
            [{**ANSWERED, "question": ["q"]}],
            r"line 1: the question is \['q'\]; expected a text under 'question'",
        ),
        ("gsm8k", [{**ANSWERED, "question": "  "}], r"line 1: the question is '  '; expected a text under 'question'"),
        (
            "gsm8k",
            [{"question": "q", "gold": "1"}],
            r"line 1: no answer in the fields question, gold; expected 'answer'",
        ),
        (
            "math",
            [{"problem": "q"}],
            r"no answer in the fields problem; expected 'answer' or 'final_answer' or 'solution",
        ),
        (
            "jsonl",
            [{**ANSWERED, "answer": ["1"]}],
            r"line 1: field 'answer' is \['1'\]; expected a text or a finite number",
        ),
        ("jsonl", [{**ANSWERED, "answer": math.nan}], r"field 'answer' is nan; expected a text or a finite number"),
        ("jsonl", [{**ANSWERED, "answer": math.inf}], r"field 'answer' is inf; expected a text or a finite number"),
        ("gsm8k", [{**ANSWERED, "answer": True}], r"field 'answer' is True; expected a text or a finite number"),
        ("jsonl", [{**ANSWERED, "answer": None}], r"a\.jsonl: holds no problem with a final answer"),
        ("jsonl", [], r"a\.jsonl: holds no problem with a final answer"),
        (
            "jsonl",
            [{**ANSWERED, "problem_id": "x"}] * 2,
            r"line 2: problem_id 'x' is also that of .*a\.jsonl, line 1",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, source: str, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_problems(source, jsonl(tmp_path / "a.jsonl", rows))


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "1"}\nquestion,answer\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: not JSON"):
        load_problems("jsonl", str(tmp_path / "a.jsonl"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"problems: '.*nowhere\.jsonl' does not exist"):
        load_problems("gsm8k", str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"problems: '.*nowhere\.csv' is neither a \.jsonl or \.json file nor"):
        load_problems("gsm8k", str(tmp_path / "nowhere.csv"))


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="problem source 'gsm' is unknown; known are gsm8k, jsonl, math"):
        load_problems("gsm")
    with pytest.raises(ValueError, match="limit is 0; it must be at least 1"):
        load_problems("gsm8k", limit=0)
    with pytest.raises(ValueError, match=r"problem source 'jsonl' needs a path: a \.jsonl or \.json file, or a hub id"):
        load_problems("jsonl")


# Split by problem -------------------------------------------------------------------------------------------------

NAMES = {f"p{i}" for i in range(200)}


def held_out(names: set[str], fraction: float, seed: int = 0) -> set[str]:
    in_order = sorted(names)
    is_held_out = validation_problems(in_order, fraction, seed)
    return {name for name, held in zip(in_order, is_held_out, strict=True) if held}


def test_the_split_holds_the_rounded_share_of_the_problems() -> None:
    for fraction, count in ((0.0, 0), (0.001, 1), (0.05, 10), (0.1, 20), (0.99, 198)):
        assert len(held_out(NAMES, fraction)) == count


def test_the_split_stays_what_it_has_always_been() -> None:
    # Those of the smallest SHA-256 of "7:<name>"; runs that were started before depend on it.
    assert held_out({f"p/{i}" for i in range(12)}, 0.25, seed=7) == {"p/10", "p/11", "p/5"}


def test_the_split_is_the_same_each_time_and_another_with_another_seed() -> None:
    assert held_out(NAMES, 0.1, seed=3) == held_out(NAMES, 0.1, seed=3)
    assert held_out(NAMES, 0.1, seed=3) != held_out(NAMES, 0.1, seed=4)


def test_more_problems_move_few_to_the_other_side() -> None:
    before = held_out(NAMES, 0.5)
    after = held_out(NAMES | {f"new{i}" for i in range(10)}, 0.5)
    # Each of the ten either joins or pushes the border by one place.
    assert len(before - after) <= 10
    assert len((after & NAMES) - before) <= 10


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_named(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"validation fraction is {fraction}; it must be in \[0, 1\)"):
        validation_problems(sorted(NAMES), fraction)


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.05), (2, 0.8), (200, 0.999)])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"fraction of {fraction} of {count} problem\(s\) leaves none to train on"):
        validation_problems(sorted(NAMES)[:count], fraction)
