"""``erprm quickstart``: the whole loop in a new folder, in files and commands that a user can repeat."""

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from erprm.cli import main
from erprm.data.pools import read_pool
from erprm.demo.quickstart.folder import COMMANDS, write_quickstart
from erprm.models import ProcessRewardModel
from erprm.runs.folder import OutputFolderError
from tests.tiny import save_tiny_llama


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERPRM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_an_empty_folder_becomes_a_scored_solution_and_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart"]) == 0
    said = capsys.readouterr().out
    typed = [line for line in said.splitlines() if line.startswith("$ ")]
    assert typed == ["$ cd quickstart", *(f"$ {command}" for command in COMMANDS)]
    assert "Do not read anything into the numbers" in said
    assert "path` of `rollout.yaml`" in said

    folder = Path("quickstart")
    assert all(command in (folder / "README.md").read_text(encoding="utf-8") for command in COMMANDS)
    problems = [json.loads(line) for line in (folder / "inputs/problems/train.jsonl").open(encoding="utf-8")]
    assert len({problem["question"] for problem in problems}) == 20
    # By heart the policy knows right and wrong solutions of every problem: it neither always nor never succeeds.
    summary = json.loads((folder / "rollouts/summary.json").read_text(encoding="utf-8"))
    assert 0 < summary["correct_solutions"] < summary["solutions"] == 80
    scored = yaml.safe_load((folder / "score.yaml").read_text(encoding="utf-8"))
    for step in scored["solution"].splitlines():
        assert step in said
    assert ProcessRewardModel.from_pretrained(folder / "prm").step_format.question_template == "{question} Check it."
    results = json.loads((folder / "runs/test/best_of_n/pool/results.json").read_text(encoding="utf-8"))
    assert results["pool"]["problems"] == 10
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")

    # Repeated, it keeps what it made and what was edited.
    policy = (folder / "inputs/policy/model.safetensors").stat().st_mtime_ns
    edited = (folder / "fit.yaml").read_text(encoding="utf-8").replace("max_epochs: 4", "max_epochs: 1")
    (folder / "fit.yaml").write_text(edited, encoding="utf-8")
    assert main(["quickstart"]) == 0
    assert (folder / "inputs/policy/model.safetensors").stat().st_mtime_ns == policy
    assert (folder / "fit.yaml").read_text(encoding="utf-8") == edited
    assert (folder / "runs/fit/lightning_logs/version_1").is_dir()


def test_a_given_model_is_policy_and_backbone_and_its_texts_may_be_anything() -> None:
    save_tiny_llama(Path("lm"))
    write_quickstart(Path("mine"), "lm", None, Console(quiet=True))
    config = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in Path("mine").glob("*.yaml")}
    assert set(config) == {"rollout", "fit", "score", "test"}
    assert config["fit"]["model"]["step_format"] == {"first_separator": "\n", "separator": "\n", "add_tokens": True}
    (callback, *_) = config["fit"]["trainer"]["callbacks"]
    pool = read_pool(Path("mine") / callback["init_args"]["candidates"])
    assert len(pool) == 10
    assert config["score"]["question"] == pool[0].problem.question
    assert config["score"]["solution"] in pool[0].candidates
    for key in (config["rollout"]["model"], config["rollout"]["path"], config["fit"]["model"]["backbone"]):
        assert (Path("mine") / key).exists()
    with pytest.raises(OutputFolderError):  # with another model
        write_quickstart(Path("mine"), None, None, Console(quiet=True))


def test_a_folder_with_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    assert main(["quickstart", "mine"]) == 1
    assert "mine is not empty, and holds no quickstart; give a new folder" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]
