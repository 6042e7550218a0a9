"""A task that is not mathematics: question answering, graded by a function named in the configuration."""

import json
import re
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import RolloutRecord, read_records
from tests.rollout.conftest import WORDS, make_policy, make_word_tokenizer

GOLD = "so then 1 2 3 4 5"
SETTINGS = """
model: policy
output_dir: {folder}
source: jsonl
path: questions.jsonl
grading: {grading}
correct_threshold: 0.2
solutions_per_problem: 16
completions_per_step: 3
max_tokens: 16
seed: 1
"""


def f1(text: str) -> float:
    """Token F1 with the gold, whose words are all different, from the sets of shared and of all words."""
    shared = len(set(text.split()) & set(GOLD.split()))
    return 2 * shared / (len(text.split()) + len(GOLD.split()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    make_policy(len(WORDS)).save_pretrained(folder / "policy")
    make_word_tokenizer().save_pretrained(folder / "policy")
    rows = [{"question": f"so {number} then", "answer": GOLD} for number in range(4)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def write_settings(name: str, grading: str) -> None:
    Path(f"{name}.yaml").write_text(SETTINGS.format(folder=name, grading=grading), encoding="utf-8")


def run(folder: Path, name: str, grading: str, monkeypatch: pytest.MonkeyPatch) -> list[RolloutRecord]:
    monkeypatch.chdir(folder)
    write_settings(name, grading)
    assert main(["rollout", "--config", f"{name}.yaml"]) == 0
    return list(read_records(name))


def test_rewards_of_a_function_named_in_a_file_reach_the_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = run(folder, "by_function", "tests.own_graders.token_f1", monkeypatch)
    assert records
    for record in records:
        (outcome,) = record.rewards[-1]
        assert outcome == pytest.approx(f1(" ".join(record.steps)), abs=1e-6)
        assert record.correct == (outcome >= 0.2)
    assert {record.correct for record in records} == {True, False}
    rewards = [reward for record in records for of_step in record.rewards[:-1] for reward in of_step]
    assert all(0.0 <= reward <= 1.0 for reward in rewards)
    assert len({reward for reward in rewards if 0.0 < reward < 1.0}) > 3
    summary = json.loads(Path("by_function", "summary.json").read_text(encoding="utf-8"))
    assert summary["correct_solutions"] == sum(record.correct for record in records)
    assert len(summary["steps_by_successes"]) == 4
    assert sum(summary["steps_by_successes"]) == sum(len(record.steps) - 1 for record in records)


def test_another_grader_in_the_same_folder_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grading = "{class_path: tests.own_graders.Keywords, init_args: {fold_case: true}}"
    records = run(folder, "by_class", grading, monkeypatch)
    assert run(folder, "by_class", grading, monkeypatch) == records
    write_settings("by_class", "{class_path: tests.own_graders.Keywords}")
    assert main(["rollout", "--config", "by_class.yaml"]) == 1
    assert re.search(r"grading: .*fold_case.* there, .* now", capsys.readouterr().err)


def test_a_grader_that_fails_is_named_and_leaves_no_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    write_settings("failed", "tests.own_graders.two")
    assert main(["rollout", "--config", "failed.yaml"]) == 1
    assert "GradingError: grading: two returned 2.0, expected a number in" in capsys.readouterr().err
    assert not list(Path("failed").rglob("*.parquet"))


def test_a_grader_that_is_not_there_is_found_before_the_model_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        main(["rollout", "--model", "no-such-model", "--output_dir", "x", "--grading", "tests.own_graders.gone"])
    assert "grading: cannot import 'tests.own_graders.gone'" in capsys.readouterr().err
