"""Every file under configs/ parses with the command its header names, and those that need no download are run."""

import json
import re
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import read_records
from erprm.models import ProcessRewardModel
from erprm.steps import Solution
from tests.conftest import REPOSITORY
from tests.working_folder import make_working_folder

CONFIGS = sorted((REPOSITORY / "configs").iterdir())


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ERPRM_CACHE", str(tmp_path / "cache"))
    folder = make_working_folder(tmp_path / "work")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_a_config_parses_with_the_command_its_header_names(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "".join(line for line in config.read_text(encoding="utf-8").splitlines(True) if line.startswith("#"))
    named = re.search(rf"erprm (\w+) --config configs/{re.escape(config.name)}\b", header)
    assert named is not None, "the header does not say how to run the file"
    assert "# Needs" in header
    with pytest.raises(SystemExit) as exit_status:
        main([named[1], "--config", str(config), "--print_config"])
    assert exit_status.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 10


def test_a_config_with_an_unknown_key_does_not_parse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (REPOSITORY / "configs/fit.yaml").read_text(encoding="utf-8")
    (tmp_path / "fit.yaml").write_text(text.replace("max_length:", "max_lenght:"), encoding="utf-8")
    with pytest.raises(SystemExit) as exit_status:
        main(["fit", "--config", str(tmp_path / "fit.yaml"), "--print_config"])
    assert exit_status.value.code == 2
    assert "did you mean 'max_length'?" in capsys.readouterr().err


def test_fit_exports_a_model_that_predict_scores_with(working_folder: Path) -> None:
    (working_folder / "prm").rename(working_folder / "untrained")
    assert main(["fit", "--config", "configs/fit.yaml", "--model.optimizer.lr=0.1", "--model.scheduler=null"]) == 0
    (run,) = (working_folder / "runs/fit/lightning_logs").iterdir()
    assert {"resolved_config.yaml", "best_of_n", "checkpoints"} <= {path.name for path in run.iterdir()}
    (best_of_n,) = (run / "best_of_n").glob("*.json")
    assert set(json.loads(best_of_n.read_text())["curves"]) == {
        "bon", "weighted_vote", "entropic_vote", "majority", "random", "random_text", "pass"
    }  # fmt: skip

    assert main(["predict", "--config", "configs/predict.yaml"]) == 0
    rows = [json.loads(line) for line in Path("scores.jsonl").read_text(encoding="utf-8").splitlines()]
    solutions = [Solution(row["question"], row["solution"].split("\n")) for row in rows]
    for folder, same in (("prm", True), ("untrained", False)):
        scores = ProcessRewardModel.from_pretrained(folder).score_steps(solutions)
        close = [row["step_scores"] == pytest.approx(s.tolist(), abs=1e-5) for row, s in zip(rows, scores, strict=True)]
        assert all(close) if same else not any(close)


@pytest.mark.usefixtures("working_folder")
def test_rollout_jsonl_makes_records_of_the_working_folder_s_problems() -> None:
    settings = {"model": "my-llama", "output_dir": "rollouts", "solutions_per_problem": 1, "max_tokens": 16}
    overrides = [f"--{key}={value}" for key, value in settings.items()]
    assert main(["rollout", "--config", "configs/rollout_jsonl.yaml", *overrides]) == 0
    questions = {f"What is {i} and 4 more?" for i in range(4)}
    assert {record.question for record in read_records("rollouts")} <= questions
    assert json.loads(Path("rollouts/summary.json").read_text(encoding="utf-8"))["solutions"] == 4


def test_smoke_cpu_takes_its_steps_and_logs_their_speed(working_folder: Path) -> None:
    assert main(["fit", "--config", "configs/smoke_cpu.yaml", "--data.max_tokens=512", "--trainer.logger.class_path="
                 "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=runs/smoke"]) == 0  # fmt: skip
    (metrics,) = (working_folder / "runs/smoke").rglob("metrics.csv")
    assert {"train/loss", "val/loss"} <= set(metrics.read_text(encoding="utf-8").split("\n")[0].split(","))


@pytest.mark.usefixtures("working_folder")
def test_grpo_demo_trains_on_a_folder_that_is_laid_out_as_the_demo_s() -> None:
    pytest.importorskip("trl", reason="needs TRL: pip install 'erprm[grpo]'")
    Path("demo/problems").mkdir(parents=True)
    for name, place in (("my-llama", "policy"), ("prm", "reward_model_er")):
        Path(name).rename(f"demo/{place}")
    rows = Path("problems.jsonl").read_text(encoding="utf-8").splitlines(True)
    for split, part in (("train", rows[:2]), ("test", rows[2:])):
        Path(f"demo/problems/{split}.jsonl").write_text("".join(part), encoding="utf-8")
    overrides = ["--steps=1", "--max_tokens=8", "--trainer.per_device_train_batch_size=8"]
    assert main(["grpo", "--config", "configs/grpo_demo.yaml", *overrides]) == 0
    lines = Path("runs/grpo_demo/evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1]
    table = Path("runs/grpo_demo/results.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| 0 (initial policy)", "| 1"]
    assert Path("runs/grpo_demo/policy/model.safetensors").is_file()
