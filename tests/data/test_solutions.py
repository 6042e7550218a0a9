import json
from pathlib import Path
from typing import Any

import pytest

from erprm.data.solutions import SolutionRow, read_solutions
from erprm.steps import Solution


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_steps_are_taken_as_they_are_and_a_solution_is_split(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "q0", "steps": ["a\nb", "c"], "id": 7},
        {"question": "q1", "solution": "a\nb\n#### 3"},
        {"question": "q2", "steps": ["a"], "solution": "x\ny"},
    ]
    assert read_solutions(write(tmp_path / "s.jsonl", *rows), "lines") == [
        SolutionRow(rows[0], Solution("q0", ["a\nb", "c"])),
        SolutionRow(rows[1], Solution("q1", ["a", "b\n#### 3"])),
        SolutionRow(rows[2], Solution("q2", ["a"])),
    ]


def test_a_solution_is_split_in_the_given_style(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", {"question": "q", "solution": "a\nb\n\nc"})
    assert [row.solution.steps for row in read_solutions(path, "paragraphs")] == [["a\nb", "c"]]
    with pytest.raises(ValueError, match="step style is 'words'; it must be one of auto"):
        read_solutions(path, "words")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"steps": ["a"]}, r"line 2: field 'question' is None; expected a text that is not blank"),
        ({"question": " ", "steps": ["a"]}, r"line 2: field 'question' is ' '; expected a text that is not blank"),
        ({"question": "q", "text": "a"}, r"line 2: no steps in the fields question, text; expected 'steps', a list"),
        ({"question": "q", "steps": []}, r"line 2: no steps in the fields question, steps"),
        ({"question": "q", "steps": ["a", " "]}, r"line 2: no steps in the fields question, steps"),
        ({"question": "q", "steps": "a"}, r"line 2: no steps in the fields question, steps"),
        ({"question": "q", "solution": "\n"}, r"line 2: no steps in the fields question, solution"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "s.jsonl", {"question": "q", "steps": ["a"]}, row)
    with pytest.raises(ValueError, match=message):
        read_solutions(path, "lines")


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"solutions: '.*nowhere\.jsonl' does not exist"):
        read_solutions(tmp_path / "nowhere.jsonl", "lines")
    with pytest.raises(ValueError, match=r"s\.jsonl: holds no solution"):
        read_solutions(write(tmp_path / "s.jsonl"), "lines")
