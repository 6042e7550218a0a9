"""What ``erprm fit`` leaves with loggers: one folder a run, its hyperparameters, and the best checkpoint so far."""

import csv
import json
import uuid
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml

from erprm.cli import main
from erprm.data.records import write_records
from tests.tiny import make_record, save_tiny_llama

POOL = [
    {"problem_id": f"sum/{i}", "question": f"What is {i} and 4 more?", "answer": str(i + 4)}
    | {"candidates": [f"The answer is: {i + right}" for right in (3, 4)]}
    for i in range(4)
]


class Quality(L.Callback):
    """Logs a value for each epoch: the first is the best."""

    def __init__(self, values: list[float]) -> None:
        self.values = values

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("quality", torch.tensor(self.values[trainer.current_epoch]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i, [[float(i % 2), 0.0, 1.0], [1.0]]) for i in range(12)], tmp_path / "rollouts.parquet")
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in POOL), encoding="utf-8")
    return tmp_path


def fit(
    logger: dict[str, Any] | list[dict[str, Any]], *arguments: str, checkpoint: dict[str, Any] | None = None
) -> None:
    callbacks = [
        {"class_path": "erprm.callbacks.BestOfN", "init_args": {"candidates": "pool.jsonl", "name": "gsm8k/easy"}},
        {"class_path": f"{__name__}.Quality", "init_args": {"values": [0.5, 0.25, 0.125]}},
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": checkpoint or {"monitor": "quality", "mode": "max"},
        },
        {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
            "init_args": {"filename": "last", "enable_version_counter": False},
        },
    ]
    config = {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": 1,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": logger,
            "callbacks": callbacks,
        },
        "model": {
            "backbone": "lm",
            "scheduler": None,
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.25}},
        },
        "data": {"rollouts": "rollouts.parquet", "validation_fraction": 0.25, "cache_dir": "cache", "eta": 3.5},
    }
    Path("fit.yaml").write_text(json.dumps(config), encoding="utf-8")
    assert main(["fit", "--config", "fit.yaml", *arguments]) == 0


def logger(kind: str, **settings: Any) -> dict[str, Any]:
    return {"class_path": f"lightning.pytorch.loggers.{kind}", "init_args": {"save_dir": "logs", **settings}}


@pytest.mark.parametrize("name", ["CSVLogger", "TensorBoardLogger"])
def test_a_resumed_run_goes_on_in_its_folder_and_knows_what_was_best(name: str, folder: Path) -> None:
    fit(logger(name))
    run = folder / "logs/lightning_logs/version_0"
    (best,) = run.glob("checkpoints/epoch=0*.ckpt")
    left_over = run / f".resolved_config.yaml.{uuid.uuid4().hex}.tmp"
    left_over.touch()  # by a kill
    fit(logger(name), "--ckpt_path=last", "--trainer.max_epochs=3")
    assert not left_over.exists()
    assert [path.name for path in (folder / "logs/lightning_logs").iterdir()] == ["version_0"]
    assert sorted(path.name for path in run.glob("checkpoints/*")) == [best.name, "last.ckpt"]
    states = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["callbacks"]
    (state,) = [state for key, state in states.items() if "'monitor': 'quality'" in key]
    assert Path(state["best_model_path"]).resolve() == best
    assert state["best_model_score"] == 0.5
    assert yaml.safe_load((run / "resolved_config.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"] == 3
    if name == "CSVLogger":
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
            assert [row["quality"] for row in csv.DictReader(file) if row["quality"]] == ["0.5", "0.25", "0.125"]


def test_a_run_that_is_not_resumed_gets_a_folder_of_its_own(folder: Path) -> None:
    fit(logger("CSVLogger"))
    fit(logger("CSVLogger"))
    fit(logger("CSVLogger"), "--ckpt_path=logs/lightning_logs/version_0/checkpoints/last.ckpt")
    assert sorted(path.name for path in (folder / "logs/lightning_logs").iterdir()) == ["version_0", "version_1"]


def test_hyperparameters_reach_the_files_of_every_logger(folder: Path) -> None:
    fit([logger("CSVLogger", name="csv"), logger("TensorBoardLogger", name="tb")])
    for file in ("logs/csv/version_0/hparams.yaml", "logs/tb/version_0/hparams.yaml"):
        saved = yaml.safe_load((folder / file).read_text(encoding="utf-8"))
        assert saved["data"]["init_args"]["eta"] == 3.5
        assert saved["data"]["init_args"]["labels"] == "er"
        assert saved["model"]["init_args"]["backbone"] == "lm"
        assert saved["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.25


def test_two_runs_of_weights_and_biases_keep_their_files_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    seen = []
    for eta in (1.0, 2.0):
        fit(logger("WandbLogger", offline=True, project="prm"), f"--data.eta={eta}")
        run = folder / "logs/prm" / wandb.run.id
        seen.append(wandb.run.config["data"]["init_args"]["eta"])
        wandb.finish()
        assert (
            yaml.safe_load((run / "resolved_config.yaml").read_text(encoding="utf-8"))["data"]["init_args"]["eta"]
            == eta
        )
        assert list(run.glob("best_of_n/gsm8k_easy-step=*.json"))
        assert list(run.glob("checkpoints/*.ckpt"))
    assert seen == [1.0, 2.0]
    assert len(list((folder / "logs/prm").iterdir())) == 2


def test_a_checkpoint_is_named_after_best_of_n(folder: Path) -> None:
    name = {"filename": "epoch={epoch}-bon2={gsm8k/easy/bon@2:.2f}", "auto_insert_metric_name": False}
    fit(logger("CSVLogger"), checkpoint={"monitor": "gsm8k/easy/bon@2", "mode": "max", **name})
    (file,) = (folder / "logs/lightning_logs/version_0/checkpoints").glob("epoch*")
    with (folder / "logs/lightning_logs/version_0/metrics.csv").open(encoding="utf-8", newline="") as metrics:
        (value,) = [row["gsm8k/easy/bon@2"] for row in csv.DictReader(metrics) if row["gsm8k/easy/bon@2"]]
    assert file.name == f"epoch=0-bon2={float(value):.2f}.ckpt"
