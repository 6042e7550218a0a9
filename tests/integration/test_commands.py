"""The commands one after another on a tiny Llama, as a user would run them."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.data.records import read_records, write_records
from erprm.models import ProcessRewardModel
from erprm.steps import Solution
from tests.tiny import make_record, save_tiny_llama

POOL = [
    {
        "question": f"What is {i} and 4 more?",
        "answer": str(i + 4),
        "candidates": [f"Step 1: {i} = {i}.\n#### {i + shift}" for shift in (3, 4, 5)],
    }
    for i in range(6)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i, [[float(i % 2), 0.0, 1.0], [1.0]]) for i in range(30)], tmp_path / "rollouts.parquet")
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in POOL), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(**callbacks: dict[str, object]) -> str:
    """A config for any LightningCLI command, as JSON, which is YAML too."""
    return json.dumps(
        {
            "trainer": {
                "accelerator": "cpu",
                "max_epochs": 2,
                "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "logs"}},
                "enable_progress_bar": False,
                "callbacks": [
                    {"class_path": f"erprm.callbacks.{name}", "init_args": settings}
                    for name, settings in callbacks.items()
                ],
            },
            "model": {"class_path": "erprm.models.ProcessRewardModel", "init_args": {"backbone": "lm"}},
            "data": {
                "class_path": "erprm.data.ProcessRewardDataModule",
                "init_args": {
                    "rollouts": "rollouts.parquet",
                    "test_rollouts": "rollouts.parquet",
                    "validation_fraction": 0.2,
                    "max_tokens": 600,
                    "cache_dir": "cache",
                    "eta": ".inf",
                },
            },
        }
    ).replace('".inf"', ".inf")


def test_fit_then_validate_test_and_predict(folder: Path) -> None:
    best_of_n: dict[str, object] = {"candidates": "pool.jsonl", "name": "sums", "kind": "gsm8k"}
    (folder / "fit.yaml").write_text(config(BestOfN=best_of_n, ExportHF={"output": "prm"}), encoding="utf-8")
    assert main(["fit", "--config", "fit.yaml"]) == 0

    # One candidate in three is right, whatever the scores.
    (metrics,) = folder.glob("logs/**/metrics.csv")
    header = metrics.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"sums/bon@1", "sums/bon@3", "sums/majority@3", "sums/pass@3", "val/loss", "val/auroc"} <= set(header)
    (latest,) = sorted(folder.glob("logs/**/best_of_n/sums-*.json"))[-1:]
    assert json.loads(latest.read_text(encoding="utf-8"))["curves"]["bon"]["mean"][0] == pytest.approx(1 / 3)

    (checkpoint,) = folder.glob("logs/**/*.ckpt")
    for command in ("validate", "test"):
        assert main([command, "--config", "fit.yaml", "--ckpt_path", str(checkpoint)]) == 0

    rows = [{"id": i, "question": row["question"], "solution": row["candidates"][1]} for i, row in enumerate(POOL)]
    (folder / "solutions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "predict.yaml").write_text(config(StepScoreWriter={"output": "scores.jsonl"}), encoding="utf-8")
    predict = ["predict", "--config", "predict.yaml", "--model.backbone", "prm"]
    assert main([*predict, "--data.predict_solutions", "solutions.jsonl"]) == 0
    written = [json.loads(line) for line in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in written] == list(range(6))
    model = ProcessRewardModel.from_pretrained(folder / "prm")
    for row in written:
        (scores,) = model.score_steps([Solution(row["question"], row["steps"])])
        assert row["step_scores"] == pytest.approx(scores.tolist(), abs=1e-6)


def test_official_data_is_converted_and_its_labels_survive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = [
        {"text": "What is 3 and 4 more? Step 1: 3 + 4 = 7. ки\nStep 2: The answer is: 7 ки", "value": [0.25, 1.0]}
    ]
    (folder / "official.json").write_text(json.dumps(official), encoding="utf-8")
    assert main(["convert", "official.json", "converted.parquet"]) == 0
    assert "1 records written to converted.parquet" in capsys.readouterr().out
    (record,) = read_records(folder / "converted.parquet")
    assert record.question == "What is 3 and 4 more?"
    assert record.steps == ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]
    assert record.rewards == [[0.25], [1.0]]


def test_rollouts_of_a_tiny_policy_train_a_reward_model(folder: Path) -> None:
    problems = [{"question": f"What is {i} and 4 more?", "answer": str(i + 4)} for i in range(6)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems), encoding="utf-8")
    settings = {
        "model": "lm",
        "output_dir": "sampled",
        "source": "jsonl",
        "path": "problems.jsonl",
        "solutions_per_problem": "2",
        "completions_per_step": "2",
        "max_tokens": "24",
        "grading": "gsm8k",
    }
    assert main(["rollout", *(text for key, value in settings.items() for text in (f"--{key}", value))]) == 0
    records = list(read_records(folder / "sampled"))
    assert records
    assert all(len(record.rewards[-1]) == 1 for record in records)
    (folder / "fit.yaml").write_text(config(), encoding="utf-8")
    assert main(["fit", "--config", "fit.yaml", "--data.rollouts", "sampled", "--trainer.max_epochs", "1"]) == 0


def test_a_config_file_in_the_working_folder_is_left_alone(folder: Path) -> None:
    text = config()
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    assert main(["fit", "--config", "config.yaml", "--trainer.logger", "false", "--trainer.max_epochs", "1"]) == 0
    assert (folder / "config.yaml").read_text(encoding="utf-8") == text
    assert (folder / "resolved_config.yaml").exists()
