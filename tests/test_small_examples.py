"""The small examples under ``examples/``: each is in the table of its page, and does what the page says."""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest

from erprm.cli import main
from erprm.data.records import read_records
from erprm.models import ProcessRewardModel
from tests.conftest import REPOSITORY, load_script
from tests.tiny import save_tiny_llama

EXAMPLES = REPOSITORY / "examples"


def test_every_example_is_in_the_table() -> None:
    rows = re.findall(r"^\| \[.*?\]\((\S+?)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    here = {path.name for path in EXAMPLES.iterdir() if path.name not in ("README.md", "__pycache__")}
    assert here <= {row.split("/")[0] for row in rows}


# Steps that others have labelled. -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "count", "first"),
    [
        # Three solutions of each of six problems: right, wrong from the first step on, wrong from the second on.
        ("math_shepherd", 18, [([[1.0], [1.0], [1.0]], True), ([[0.0]] * 3, False), ([[1.0], [0.0], [0.0]], False)]),
        # The chosen steps, and each rejected one after the chosen steps before it.
        ("prm800k", 18, [([[1.0], [1.0]], True), ([[0.0]], False), ([[1.0], [0.0]], False)]),
    ],
)
def test_labelled_steps_become_a_reward_model(
    layout: str,
    count: int,
    first: list[tuple[list[list[float]], bool]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ERPRM_CACHE", str(tmp_path / "cache"))
    save_tiny_llama(Path("lm"))
    assert main(["convert", str(EXAMPLES / f"step_labels/{layout}.jsonl"), "steps.parquet"]) == 0
    records = list(read_records("steps.parquet"))
    assert len(records) == count
    assert [(record.rewards, record.correct) for record in records[:3]] == first

    overrides = ["--model.backbone", "lm", "--trainer.accelerator", "cpu", "--trainer.max_steps", "1"]
    assert main(["fit", "--config", str(EXAMPLES / "step_labels/fit.yaml"), *overrides]) == 0
    assert ProcessRewardModel.from_pretrained("runs/step_labels/prm").step_format is not None


# Curves from arrays. --------------------------------------------------------------------------------------------------


def test_curves_of_arrays_are_those_computed_by_hand() -> None:
    example = load_script(EXAMPLES / "curves_from_arrays.py")
    scores = np.array([[0.9, 0.7, 0.2], [0.1, 0.8, 0.5]])
    correct = np.array([[False, True, False], [False, True, True]])
    answers = np.array([[1, 0, 1], [1, 0, 0]])
    means = {name: values.mean(0).tolist() for name, values in example.curves(scores, correct, answers, 0.0).items()}
    # Of two candidates of the first problem, the right one wins in one pair of three; of three, the wrong one wins.
    # In the second problem every pair and the whole hold the right 0.8, or the right 0.5 beside 0.1.
    assert means["best-of-n"] == pytest.approx([(1 / 3 + 2 / 3) / 2, (1 / 3 + 1) / 2, 0.5])
    # One right candidate of three, and two of three.
    assert means["pass@n"] == pytest.approx([0.5, (2 / 3 + 1) / 2, 1.0])
    # All three: two votes of three for the wrong answer, and two of three for the right one.
    assert means["majority"][2] == pytest.approx(0.5)
    assert means["vote, eta 0"][2] == pytest.approx(0.5)


@pytest.mark.parametrize("own", [False, True])
def test_the_script_prints_a_line_for_each_way_of_choosing(own: bool, tmp_path: Path) -> None:
    example = load_script(EXAMPLES / "curves_from_arrays.py")
    file = tmp_path / "mine.npz"
    np.savez(file, scores=[[0.9, 0.1]] * 4, correct=[[True, False]] * 4, answers=[[0, 1]] * 4)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        example.main([str(file)] if own else [])
    lines = stdout.getvalue().splitlines()
    assert [line[:12].strip() for line in lines] == ["best-of-n", "vote, eta 10", "majority", "pass@n"]
    values = {line[:12].strip(): [float(mean) for mean in re.findall(r": (\S+) \[", line)] for line in lines}
    if own:  # every problem alike: the right candidate has the higher score
        assert values["best-of-n"] == values["pass@n"] == [0.5, 1.0]
    else:
        assert len(values["pass@n"]) == int(math.log2(16)) + 1
