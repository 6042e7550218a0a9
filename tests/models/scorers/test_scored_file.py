"""Files are scored some rows at a time; a run that was ended goes on where it was."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erprm.data.files.json_rows import RowError
from erprm.models import ScorerError
from erprm.models.scorers.scored_file import ScoredRows, score_file
from erprm.steps import Solution


class Lengths:
    """Scores a step by its length over 100; refuses those that are too long, and ends at a word."""

    def __init__(self, ends_at: str | None = None) -> None:
        self.ends_at = ends_at
        self.calls: list[list[str]] = []

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        self.calls.append([solution.question for solution in solutions])
        for solution in solutions:
            if solution.question == self.ends_at:
                raise KeyboardInterrupt
            if max(map(len, solution.steps)) > 100:
                raise ValueError("a step is too long")
        return [
            torch.tensor([float("nan") if step == "nan" else len(step) / 100 for step in solution.steps])
            for solution in solutions
        ]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": i, "question": f"q{i}", "solution": "a" * (i + 1) + "\nbb"} for i in range(count)]


def write(path: Path, content: Sequence[dict[str, Any] | str]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in content), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(scorer: Lengths, source: Path, output: Path, **settings: Any) -> ScoredRows:
    return score_file(scorer, source, output, **{"scorer_identity": {"is": "lengths"}, "rows_at_once": 2, **settings})


def only_file(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_rows_keep_their_order_and_fields_and_gain_scores(tmp_path: Path) -> None:
    scorer = Lengths()
    result = run(scorer, write(tmp_path / "in.jsonl", rows(5)), tmp_path / "out.jsonl", aggregation="mean")
    assert result == ScoredRows(written=5, rejected=0, resumed=0)
    written = read(tmp_path / "out.jsonl")
    assert [{name: row[name] for name in ("id", "question", "solution")} for row in written] == rows(5)
    assert written[3]["steps"] == ["aaaa", "bb"]
    assert written[3]["step_scores"] == pytest.approx([0.04, 0.02])
    assert written[3]["score"] == pytest.approx(0.03)
    # Never more rows in memory than are scored together.
    assert scorer.calls == [["q0", "q1"], ["q2", "q3"], ["q4"]]
    only_file(tmp_path, "in.jsonl", "out.jsonl")


def test_a_run_that_was_ended_leaves_no_output_and_goes_on_where_it_was(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.jsonl", rows(7)), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(ends_at="q5"), source, output)
    only_file(tmp_path, "in.jsonl", ".out.jsonl.unfinished")
    # What was written behind the last saved place is written anew.
    with (tmp_path / ".out.jsonl.unfinished/rows.jsonl").open("a") as file:
        file.write('{"half a ro')
    again = Lengths()
    assert run(again, source, output) == ScoredRows(written=7, rejected=0, resumed=4)
    assert again.calls == [["q4", "q5"], ["q6"]]
    run(Lengths(), source, tmp_path / "at-once.jsonl")
    assert output.read_bytes() == (tmp_path / "at-once.jsonl").read_bytes()
    only_file(tmp_path, "in.jsonl", "out.jsonl", "at-once.jsonl")


@pytest.mark.parametrize(
    "settings", [{"scorer_identity": {"is": "another"}}, {"aggregation": "last"}, {"step_style": "paragraphs"}]
)
def test_with_other_settings_it_begins_anew(tmp_path: Path, settings: dict[str, Any]) -> None:
    source, output = write(tmp_path / "in.jsonl", rows(4)), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(ends_at="q3"), source, output)
    assert run(Lengths(), source, output, **settings).resumed == 0


def test_with_another_input_it_begins_anew(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.jsonl", rows(4)), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(ends_at="q3"), source, output)
    write(source, rows(5)[1:])
    assert run(Lengths(), source, output).resumed == 0
    assert [row["id"] for row in read(output)] == [1, 2, 3, 4]


BAD: list[tuple[dict[str, Any] | str, str]] = [
    ("{", "not JSON"),
    ({"question": "q", "text": "a"}, "no steps in the fields question, text"),
    ({"question": "q", "steps": ["a" * 101]}, "a step is too long"),
    ({"question": "q", "steps": ["a", "nan"]}, "a step has the score nan; expected a number"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_the_first_bad_row_ends_the_run_and_is_named(tmp_path: Path, bad: dict[str, Any] | str, reason: str) -> None:
    (tmp_path / "out.jsonl").write_text("of an earlier run\n")
    source = write(tmp_path / "in.jsonl", [*rows(3), bad, *rows(2)])
    with pytest.raises(RowError, match=rf"in\.jsonl, line 4: .*{reason}"):
        run(Lengths(), source, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "of an earlier run\n"


def test_an_error_before_anything_is_done_leaves_nothing_behind(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", ["{"])
    with pytest.raises(RowError, match=r"in\.jsonl, line 1: not JSON"):
        run(Lengths(), source, tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match=r"step style is 'words'"):
        run(Lengths(), source, tmp_path / "out.jsonl", step_style="words")
    only_file(tmp_path, "in.jsonl")


def test_a_second_process_with_the_same_output_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.jsonl", rows(3)), tmp_path / "out.jsonl"

    class RunsAgain(Lengths):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            with pytest.raises(ValueError, match=r"out\.jsonl.* is in use by process"):
                run(Lengths(), source, output, aggregation="last")
            return super().score_steps(solutions)

    assert run(RunsAgain(), source, output).written == 3
    only_file(tmp_path, "in.jsonl", "out.jsonl")


def test_bad_rows_are_written_aside_once_even_if_the_run_is_ended_between(tmp_path: Path) -> None:
    good = rows(6)
    content = [BAD[0][0], good[0], BAD[2][0], good[1], BAD[1][0], BAD[3][0], *good[2:], BAD[0][0]]
    source, output = write(tmp_path / "in.jsonl", content), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(ends_at="q4"), source, output, skip_rejected=True)
    result = run(Lengths(), source, output, skip_rejected=True)
    assert (result.written, result.rejected) == (6, 5)
    assert result.resumed > 0
    assert [row["id"] for row in read(output)] == list(range(6))
    rejected = read(tmp_path / "out.jsonl.rejected.jsonl")
    assert sorted(row["line"] for row in rejected) == [1, 3, 5, 6, 11]
    reasons = {row["line"]: row["reason"] for row in rejected}
    for line, (_, reason) in ((1, BAD[0]), (5, BAD[1]), (3, BAD[2]), (6, BAD[3])):
        assert reason in reasons[line]
    # Without bad rows, those of the run before are gone.
    run(Lengths(), write(source, good), output, skip_rejected=True)
    only_file(tmp_path, "in.jsonl", "out.jsonl")


@pytest.mark.parametrize("killed_before", ["the rows have their name", "the folder is removed"])
def test_a_run_that_was_killed_as_it_ended_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_before: str
) -> None:
    source, output = write(tmp_path / "in.jsonl", [BAD[0][0], *rows(4)]), tmp_path / "out.jsonl"
    with monkeypatch.context() as killed:
        killed.setattr("erprm.models.scorers.scored_file.shutil.rmtree", lambda *_, **__: None)
        run(Lengths(), source, output, skip_rejected=True)
    rejected = tmp_path / "out.jsonl.rejected.jsonl"
    written, aside = output.read_bytes(), rejected.read_bytes()
    if killed_before == "the rows have their name":
        output.rename(tmp_path / ".out.jsonl.unfinished/rows.jsonl")
    run(Lengths(), source, output, skip_rejected=True)
    assert (output.read_bytes(), rejected.read_bytes()) == (written, aside)
    only_file(tmp_path, "in.jsonl", "out.jsonl", "out.jsonl.rejected.jsonl")


def test_files_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(1))
    with pytest.raises(ValueError, match=r"in\.jsonl: is the input"):
        run(Lengths(), source, source)
    with pytest.raises(FileNotFoundError, match=r"solutions: '.*nowhere\.jsonl' does not exist"):
        run(Lengths(), tmp_path / "nowhere.jsonl", tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match=r"empty\.jsonl: none of its rows can be scored$"):
        run(Lengths(), write(tmp_path / "empty.jsonl", []), tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match=r"bad\.jsonl: none of its rows can be scored; .*line 1: not JSON"):
        run(Lengths(), write(tmp_path / "bad.jsonl", ["{"]), tmp_path / "out.jsonl", skip_rejected=True)
    only_file(tmp_path, "in.jsonl", "empty.jsonl", "bad.jsonl")


def test_a_scorer_that_returns_too_few_scores_ends_the_run_and_rejects_no_row(tmp_path: Path) -> None:
    class Short(Lengths):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [scores[1:] if len(self.calls) > 1 else scores for scores in super().score_steps(solutions)]

    source = write(tmp_path / "in.jsonl", rows(5))
    with pytest.raises(ScorerError, match="score_steps returned 1 scores for the 2 steps of a solution of 'q2'"):
        run(Short(), source, tmp_path / "out.jsonl", skip_rejected=True)
    only_file(tmp_path, ".out.jsonl.unfinished", "in.jsonl")
    assert run(Lengths(), source, tmp_path / "out.jsonl", skip_rejected=True) == ScoredRows(5, 0, resumed=2)
