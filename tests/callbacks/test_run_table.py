"""The table that ends ``fit``, ``validate`` and ``test``."""

import json
import re
import shlex
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from erprm.callbacks import BestOfN, ExportHF
from erprm.callbacks.run_table import EvaluationRecord, run_table
from erprm.cli import main
from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from tests.tiny import make_record, save_tiny_llama

# One of three candidates is right, whatever their scores; no two give the same answer, so a majority is a draw by lot.
POOL = [
    {"question": f"What is {i} and 4 more?", "answer": str(i + 4), "candidates": [f"#### {i + n}" for n in (3, 4, 5)]}
    for i in range(6)
]
ONE_IN_THREE = "33.3 [33.3, 33.3]"
ONE = f"best-of-n {ONE_IN_THREE}, majority 33.3, pass@n 33.3"


class WorseAndWorse(L.Callback):
    """Logs a value that is best in the first epoch."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("quality", torch.tensor(10.0 - trainer.current_epoch))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i) for i in range(8)], tmp_path / "rollouts.parquet")
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in POOL), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_after_fit(*callbacks: L.Callback, epochs: int = 2) -> dict[str, str]:
    record = EvaluationRecord()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, default_root_dir="run", logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[WorseAndWorse(), *callbacks, record],
    )  # fmt: skip
    data = ProcessRewardDataModule("rollouts.parquet", validation_fraction=0.25, cache_dir="cache")
    trainer.fit(ProcessRewardModel("lm"), data)
    return {row[0]: row[1] for row in run_table(trainer, record).rows}


@pytest.mark.usefixtures("folder")
def test_the_numbers_are_those_of_the_best_epoch_and_the_paths_are_there() -> None:
    best = ModelCheckpoint(monitor="quality", mode="max")
    newest = ModelCheckpoint(filename="newest")
    pool = BestOfN("pool.jsonl", name="sums", kind="gsm8k")
    rows = rows_after_fit(newest, best, pool, ExportHF("prm", which="best"))
    assert rows["best epoch"] == "0 (from 0), by quality = 10.0000"
    assert (rows["numbers of"], rows["quality"]) == ("epoch 0", "10.0000")
    assert rows["sums, n = 1"] == ONE
    assert rows["sums, n = 3"].endswith(", pass@n 100.0")
    assert re.fullmatch(r"\d\.\d{4}", rows["val/loss"])
    assert not any(name.startswith("train/") for name in rows)
    assert rows["exported model"] == "prm"
    assert Path(rows["checkpoint"]).samefile(best.best_model_path)
    assert rows["curves, samples"] == "run/best_of_n"


@pytest.mark.usefixtures("folder")
def test_without_a_best_epoch_the_numbers_are_the_last_ones() -> None:
    rows = rows_after_fit(BestOfN("pool.jsonl", name="sums", kind="gsm8k"))
    assert "best epoch" not in rows
    assert "exported model" not in rows
    assert (rows["numbers of"], rows["quality"], rows["sums, n = 1"]) == ("epoch 1", "9.0000", ONE)


@pytest.mark.usefixtures("folder")
def test_an_epoch_without_best_of_n_does_not_show_that_of_an_earlier_one() -> None:
    rows = rows_after_fit(BestOfN("pool.jsonl", name="sums", kind="gsm8k", every_n_epochs=2), epochs=3)
    assert rows["numbers of"] == "epoch 2"
    assert not any(name.startswith("sums") for name in rows)


def last_line(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    *table, last = capsys.readouterr().out.strip().splitlines()
    return "\n".join(table), last


def test_each_command_ends_with_a_table_and_names_the_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best_of_n = {"candidates": "pool.jsonl", "name": "sums", "kind": "gsm8k"}
    callbacks = [{"class_path": "erprm.callbacks.BestOfN", "init_args": best_of_n}]
    trainer = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "default_root_dir": "run",
        "callbacks": callbacks,
    }
    data = {"rollouts": "rollouts.parquet", "validation_fraction": 0.25, "cache_dir": "cache"}
    config = {"trainer": {**trainer, "enable_progress_bar": False}, "model": {"backbone": "lm"}, "data": data}
    (folder / "my run.yaml").write_text(json.dumps(config), encoding="utf-8")

    assert main(["fit", "--config", "my run.yaml", "--data.eta=.inf"]) == 0
    table, following = last_line(capsys)
    assert "numbers of" in table
    (checkpoint,) = (path.relative_to(folder) for path in folder.glob("run/**/*.ckpt"))
    assert following == f"next: erprm test --config 'my run.yaml' --data.eta=.inf --ckpt_path {checkpoint}"

    arguments = shlex.split(following.removeprefix("next: erprm test "))
    assert main(["validate", *arguments]) == 0
    table, validated = last_line(capsys)
    assert ONE_IN_THREE in table
    assert "val/loss" in table
    assert re.search(rf"model\W+{re.escape(str(checkpoint))}", table)
    assert validated == following
    assert main(["test", *arguments]) == 0
    table, reported = last_line(capsys)
    assert ONE_IN_THREE in table
    assert table.count("sums") == 3  # a row an n; and not once more, in Lightning's own table
    assert reported == "next: erprm report run"
