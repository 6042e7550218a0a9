import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erprm.data.pools import PoolError, PoolProblem, grade_pool, pool_fingerprint, read_pool, write_pool
from erprm.data.sources import ClassifiedProblem, Problem, load_problems
from erprm.grading import Grader

GOLD = [Problem("gold/0", "What is 1 + 1?", "2", "sum"), Problem("gold/1", "What is 2 + 2?", "4", "sum")]


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(**changes: object) -> dict[str, Any]:
    fields = {"problem_id": "p/0", "question": "What is 1 + 1?", "answer": "2", "candidates": ["#### 2", "#### 3"]}
    return {key: value for key, value in {**fields, **changes}.items() if value is not ...}


# Reading -----------------------------------------------------------------------------------------------------------


def test_the_own_layout_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", row(source="sum"), row(problem_id=..., question="q", answer=0, candidates=["a"]))
    assert read_pool(path) == [
        PoolProblem(Problem("p/0", "What is 1 + 1?", "2", "sum"), ("#### 2", "#### 3")),
        PoolProblem(Problem("pool/1", "q", "0", "pool"), ("a",)),
    ]


def test_a_written_pool_is_read_back(tmp_path: Path) -> None:
    pool = [PoolProblem(problem, ("Zwei: 2 €\n#### 2", "", "x")) for problem in GOLD]
    write_pool(pool, tmp_path / "new" / "p.jsonl")
    assert read_pool(tmp_path / "new" / "p.jsonl") == pool
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.jsonl"]


def test_finish_reasons_are_read_back_and_checked(tmp_path: Path) -> None:
    pool = [PoolProblem(problem, ("#### 2", "x"), ("stop", "length")) for problem in GOLD]
    write_pool(pool, tmp_path / "p.jsonl")
    assert read_pool(tmp_path / "p.jsonl") == pool
    for reasons in (["stop"], ["stop", "eos"], "stop"):
        path = write(tmp_path / "bad.jsonl", row(candidates=["a", "b"], finish_reasons=reasons))
        with pytest.raises(PoolError, match=r"bad.jsonl, line 1: field 'finish_reasons' is .*'stop' or 'length' for"):
            read_pool(path)


def test_a_candidate_that_was_cut_off_is_right_only_with_a_closed_answer() -> None:
    texts = ("So 1 + 1 = 2", "So 1 + 1 = 2", "#### 2\nAnd", "\\boxed{2} is", "The answer is 2")
    graded = grade_pool([PoolProblem(GOLD[0], texts, ("stop", *("length",) * 4))], "gsm8k", "lines")
    assert graded.correct_PN.tolist() == [[True, False, True, True, False]]
    assert graded.answers == ["2", None, "2", "2", None]
    assert graded.cut_off == [False, True, True, True, True]


def test_a_pool_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    lone_surrogate = PoolProblem(GOLD[1], ("\ud800",))
    with pytest.raises(UnicodeEncodeError):
        write_pool([PoolProblem(GOLD[0], ("a",)), lone_surrogate], tmp_path / "p.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_gsm8k_example_solutions_are_read_with_a_candidate_a_model(shared_data: Path) -> None:
    pool = read_pool(shared_data / "gsm8k_example_solutions.jsonl")
    golds = load_problems("gsm8k", str(shared_data / "gsm8k_test.jsonl"), split="test")
    assert len(pool) == 1319
    assert {len(entry.candidates) for entry in pool} == {4}
    # Both files are GSM8K's test split: the golds agree, problem by problem.
    assert [Fraction(entry.problem.answer) for entry in pool] == [Fraction(gold.answer) for gold in golds]


def test_gsm8k_example_solutions_are_graded_as_their_authors_graded_them(shared_data: Path) -> None:
    path = shared_data / "gsm8k_example_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    published = [[model["is_correct"] for model in row.values() if isinstance(model, dict)] for row in rows]
    graded = grade_pool(read_pool(path), "gsm8k", "lines")
    disagreements = sum(
        a != b
        for one, other in zip(graded.correct_PN.tolist(), published, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    assert disagreements == 0


def test_parquet_is_read_as_json_lines_are(tmp_path: Path) -> None:
    rows = [row(source="sum", level="5"), row(problem_id="p/1", candidates=["a", "b", "c"], source="sum", level="1")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    pool = read_pool(write(tmp_path / "p.jsonl", *rows))
    assert read_pool(tmp_path / "p.parquet") == pool
    assert pool_fingerprint(read_pool(tmp_path / "p.parquet")) == pool_fingerprint(pool)
    assert pool_fingerprint(pool[:1]) != pool_fingerprint(pool)


def test_level_and_subject_come_from_the_pool_or_the_gold_file(tmp_path: Path) -> None:
    gold = load_problems(
        "math",
        str(write(tmp_path / "g.jsonl", {"problem": "q?", "answer": "1", "level": "Level 3", "type": "Algebra"})),
    )
    path = write(
        tmp_path / "p.jsonl",
        row(problem_id=..., question="q?", answer=...),
        row(level=5, subject="Geometry"),
        row(problem_id="p/1"),
    )
    pool = read_pool(path, gold)
    assert [entry.problem.groups for entry in pool] == [
        {"level": "3", "subject": "Algebra"},
        {"level": "5", "subject": "Geometry"},
        {},
    ]
    assert pool[1].problem == ClassifiedProblem("p/0", "What is 1 + 1?", "2", "pool", "5", "Geometry")
    write_pool(pool, tmp_path / "again.jsonl")
    assert read_pool(tmp_path / "again.jsonl") == pool


def test_a_pool_of_copies_is_refused_but_some_copies_are_not(tmp_path: Path) -> None:
    copies = row(candidates=["#### 2", "#### 2"])
    with pytest.raises(PoolError, match=r"p\.jsonl: the candidates of each problem are copies .* temperature 0\?"):
        read_pool(write(tmp_path / "p.jsonl", copies))
    assert len(read_pool(write(tmp_path / "p.jsonl", copies, row(problem_id="p/1")))) == 2


# Gold answers ------------------------------------------------------------------------------------------------------


def test_missing_answers_come_from_the_gold_file_by_id_and_by_question(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        row(problem_id="gold/1", question="What is  2 + 2?\n", answer=...),
        row(problem_id="elsewhere/0", answer=""),
        row(problem_id=..., question="What is 3 + 3?", answer="6"),
    )
    assert [entry.problem.answer for entry in read_pool(path, GOLD)] == ["4", "2", "6"]


def test_a_problem_missing_from_the_gold_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", row(), row(problem_id="p/1", question="What is 9 + 9?", answer=None))
    with pytest.raises(PoolError) as error:
        read_pool(path, GOLD)
    assert (
        str(error.value)
        == f"{path}, line 2: problem 'p/1' is not in the gold file and has no answer here; it asks 'What is 9 + 9?'"
    )


def test_an_answer_is_never_taken_from_another_question_of_the_same_id(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", row(problem_id="gold/0", question="What is 9 + 9?", answer=None))
    with pytest.raises(
        PoolError, match=r"problem 'gold/0' asks 'What is 9 \+ 9\?', but in the gold file it asks 'What is 1"
    ):
        read_pool(path, GOLD)


def test_a_pool_without_answers_needs_a_gold_file(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"line 1: problem 'p/0' has no answer, and no gold file was given"):
        read_pool(write(tmp_path / "p.jsonl", row(answer=...)))


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (row(question=...), "field 'question' is None; expected a text that is not blank"),
        (row(question=""), "field 'question' is ''; expected a text that is not blank"),
        (row(problem_id="p/1", candidates=[]), "field 'candidates' is []; expected a list of at least one text"),
        (row(problem_id="p/1", candidates=["a", 5]), "field 'candidates' is ['a', 5]; expected a list of at least one"),
        (row(problem_id="p/1", candidates=...), "field 'candidates' is None; expected a list of at least one text"),
        ({"ground_truth": "A: 18", "m": {"solution": "x"}}, "field 'question' is None; expected a text"),
        ({"ground_truth": "A: 18", "question": "q"}, "field 'candidates' is []; expected a list of at least one text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, bad: dict[str, Any], complaint: str) -> None:
    path = write(tmp_path / "p.jsonl", row(), bad)
    with pytest.raises(PoolError) as error:
        read_pool(path)
    assert str(error.value).startswith(f"{path}, line 2: {complaint}")


def test_a_problem_that_stands_there_twice_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", row(), row(question="another"))
    with pytest.raises(PoolError, match=r"line 2: problem 'p/0' is also that of .*p\.jsonl, line 1"):
        read_pool(path)


def test_a_row_without_an_id_that_stands_there_twice_is_named_by_its_question(tmp_path: Path) -> None:
    row = {"question": "1 +  1?", "answer": "2", "candidates": ["#### 2", "#### 3"]}
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in (row, {**row, "question": "1 + 1?"})))
    with pytest.raises(PoolError, match=r"line 2: problem '1 \+ 1\?' is also that of .*p\.jsonl, line 1"):
        read_pool(path)
    # Two problems of different ids may ask the same.
    path.write_text("".join(json.dumps({**row, "problem_id": name}) + "\n" for name in "ab"))
    assert [entry.problem.problem_id for entry in read_pool(path)] == ["a", "b"]


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"candidate pool: '.*nowhere\.jsonl' does not exist"):
        read_pool(tmp_path / "nowhere.jsonl")
    with pytest.raises(PoolError, match=r"p\.jsonl: holds no problem"):
        read_pool(write(tmp_path / "p.jsonl"))


# Tensors -----------------------------------------------------------------------------------------------------------


def test_the_tensors_of_a_pool() -> None:
    pool = [
        PoolProblem(
            GOLD[0], ("1 + 1 = 3\n#### 3", "1 + 1 = 2\n#### 2", "#### 3.00", "2\n#### 2.0", "#### 2", "#### 2")
        ),
        PoolProblem(GOLD[1], ("I do not know", "#### 5", "")),
    ]
    graded = grade_pool(pool, "gsm8k", "lines")
    assert graded.problem_ids == ["gold/0", "gold/1"]
    assert graded.correct_PN.tolist() == [[False, True, False, True, True, True], [False] * 6]
    # 3 and 3.00 are one answer, and so are all the right ones; no number is no answer; -1 also where padded.
    assert graded.answers_PN.tolist() == [[0, 1, 0, 1, 1, 1], [-1, 0, -1, -1, -1, -1]]
    assert graded.texts_PN.tolist() == [[0, 1, 2, 3, 4, 4], [0, 1, 2, -1, -1, -1]]
    assert graded.valid_PN.tolist() == [[True] * 6, [True, True, True, False, False, False]]
    steps = [list(solution.steps) for solution in graded.solutions]
    assert steps[:4] == [["1 + 1 = 3\n#### 3"], ["1 + 1 = 2\n#### 2"], ["#### 3.00"], ["2\n#### 2.0"]]
    assert steps[6:] == [["I do not know"], ["#### 5"], []]
    assert {solution.question for solution in graded.solutions[:6]} == {"What is 1 + 1?"}


def test_expressions_in_two_spellings_are_one_answer() -> None:
    texts = (r"\boxed{\frac{1}{3}}", r"\boxed{\dfrac13}", r"\boxed{x+1}", r"\boxed{$x + 1$}", r"\boxed{0.25}")
    pool = [PoolProblem(Problem("m", "q", r"\frac{1}{4}", "math"), texts)]
    with Grader(workers=1) as grader:
        graded = grade_pool(pool, "math", "lines", grader)
    assert graded.correct_PN.tolist() == [[False, False, False, False, True]]
    assert graded.answers_PN.tolist() == [[0, 0, 1, 1, 2]]


def test_a_grader_of_ones_own_decides_from_a_threshold_and_votes_count_equal_texts() -> None:
    pool = [
        PoolProblem(Problem("q", "Who?", "the red cat", "qa"), ("the red cat", "the cat", "a dog", " a  dog", "a rat"))
    ]
    graded = grade_pool(pool, "tests.own_graders.token_f1", "lines")
    # F1 with the gold's three words: 1, 2 * 2 / (2 + 3) = 0.8, and 0 three times.
    assert graded.correct_PN.tolist() == [[True, True, False, False, False]]
    assert graded.answers_PN.tolist() == [[0, 0, 1, 1, 2]]
    strict = grade_pool(pool, "tests.own_graders.token_f1", "lines", correct_threshold=0.9)
    assert strict.correct_PN.tolist() == [[True, False, False, False, False]]


def test_an_unknown_kind_or_style_is_named() -> None:
    pool = [PoolProblem(GOLD[0], ("#### 2",))]
    with pytest.raises(ValueError, match="kind: got 'physics'"):
        grade_pool(pool, "physics", "lines")
    with pytest.raises(ValueError, match="step style is 'words'; it must be one of auto"):
        grade_pool(pool, "gsm8k", "words")
