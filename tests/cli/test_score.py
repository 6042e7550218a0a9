"""``erprm score``: what it prints, what it writes, and what it says when it cannot."""

import json
from pathlib import Path

import pytest
import torch

from erprm.cli import main
from erprm.errors import printable
from erprm.models import AdaptedRewardModel
from erprm.report.samples import _colour
from erprm.steps import Solution
from tests.models.adapters.checkpoints import causal_lm, qwen_prm, tiny_tokenizer

QUESTION, SOLUTION = "What is 3 and 4 more?", "3 + 4 = 7.\nThe answer is: 7"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    qwen_prm(folder, tiny_tokenizer())
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> list[float]:
    (scores,) = AdaptedRewardModel.from_pretrained(checkpoint).score_steps([Solution(QUESTION, SOLUTION.split("\n"))])
    return [float(score) for score in scores]


def test_a_solution_is_printed_with_the_score_of_each_step(
    checkpoint: Path, expected: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "--model", str(checkpoint), "--question", QUESTION, "--solution", SOLUTION]) == 0
    assert capsys.readouterr().out == (
        f"{QUESTION}\n   1  {expected[0]:.4f}  3 + 4 = 7.\n   2  {expected[1]:.4f}  The answer is: 7\n"
        f" min  {min(expected):.4f}\n"
    )


def test_the_colour_goes_from_red_over_yellow_to_green(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [_colour(score) for score in (0.0, 0.5, 1.0)] == ["rgb(220,0,0)", "rgb(220,180,0)", "rgb(0,180,0)"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert main(["score", "--model", str(checkpoint), "--question", QUESTION, "--solution", SOLUTION]) == 0
    assert "\x1b[38;2;" in capsys.readouterr().out


def test_a_text_cannot_take_hold_of_the_terminal(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[red]3\x1b[2J\x07\r4[/red]"
    assert printable(hostile) == "[red]3�[2J��4[/red]"
    assert main(["score", "--model", str(checkpoint), "--question", hostile, "--solution", hostile]) == 0
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\r"} & set(out)
    assert out.count("[red]3") == 2


def test_a_file_is_scored_row_by_row(
    checkpoint: Path, expected: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"id": 1, "question": QUESTION, "solution": SOLUTION}, {"id": 2, "question": " ", "steps": ["a"]}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["score", "--model", str(checkpoint), "--jsonl", str(source), str(output)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "in.jsonl, line 2: field 'question' is ' '; expected a text that is not blank" in error
    assert not output.exists()
    assert main([*command, "--on-error", "skip"]) == 0
    assert f"1 row(s) scored and written to {output}" in (out := capsys.readouterr().out)
    assert f"1 row(s) rejected and written to {output}.rejected.jsonl" in out
    (row,) = (json.loads(line) for line in output.read_text().splitlines())
    assert {name: row[name] for name in ("id", "steps")} == {"id": 1, "steps": SOLUTION.split("\n")}
    torch.testing.assert_close(torch.tensor(row["step_scores"]), torch.tensor(expected))
    assert row["score"] == pytest.approx(min(expected))


def test_a_row_longer_than_the_context_is_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"question": "q", "steps": ["3 " * 600]}) + "\n")
    assert main(["score", "--model", str(checkpoint), "--jsonl", str(source), str(tmp_path / "out.jsonl")]) == 1
    assert "in.jsonl, line 1: the solution of 'q' has" in capsys.readouterr().err


def test_another_step_format_is_taken_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    causal_lm(tmp_path, tiny_tokenizer())
    command = ["score", "--model", str(tmp_path), "--question", "q", "--solution", "a", "--adapter", "er_prm"]
    outputs = []
    for step_format in ({}, {"question_template": "Question: {question}"}):
        assert main([*command, "--step_format", json.dumps(step_format)]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] != outputs[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--question", "q"], "give either question and solution, or jsonl with two files"),
        (["--solution", "s"], "give either question and solution, or jsonl with two files"),
        ([], "give either question and solution, or jsonl with two files"),
        (["--question", "q", "--solution", "s", "--jsonl", "a", "b"], "give either question and solution, or jsonl"),
        (["--jsonl", "a"], "expected 2 arguments"),
        (["--jsonl", "a", "b", "--step_style", "words"], "step_style is 'words'; it must be one of auto"),
        (["--jsonl", "a", "b", "--adaptor", "trl"], "did you mean 'adapter'?"),
        (["--jsonl", "a", "b", "--score_eta", "low"], "score_eta is 'low'; it must be a number"),
        (["--jsonl", "a", "b", "--model", "http://there", "--score_eta", "-2"], "a served model gives probabilities"),
        (["--jsonl", "a", "b", "--rows_at_once", "0"], "rows_at_once is 0; it must be at least 1"),
    ],
)
def test_wrong_arguments_end_the_command_before_anything_is_read(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["score", "--model", "nowhere", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "qwen"], "erprm score: adapter is 'qwen'; it must be one of auto, er_prm"),
        (["--device", "gpu0"], "erprm score: device is 'gpu0', which cannot be used here: "),
        (["--solution", " \n"], "erprm score: the solution is blank"),
        (["--score_eta", "-2"], "erprm score: score_eta is -2, but nothing says with which loss"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(
    checkpoint: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--model", str(checkpoint), "--question", QUESTION, "--solution", SOLUTION]
    assert main([*command, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
