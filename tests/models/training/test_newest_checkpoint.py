import csv
import os
import uuid
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from erprm.models.training.newest_checkpoint import arguments_to_resume, continue_version, newest_checkpoint


def make_trainer(folder: Path) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder / "root",
        logger=CSVLogger(folder / "logs", name="run"),
        callbacks=[ModelCheckpoint(folder / "kept", save_last=True)],
    )


def make_file(path: Path, age: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1e9 - age, 1e9 - age))
    return str(path)


def test_the_newest_is_found_among_all_versions_folders_and_kinds(tmp_path: Path) -> None:
    make_file(tmp_path / "logs/run/version_0/checkpoints/epoch=1-step=2.ckpt", age=0)
    make_file(tmp_path / "logs/another/version_0/checkpoints/last.ckpt", age=0)
    for age, place in (
        (9, "logs/run/version_0/checkpoints/last.ckpt"),
        (8, "logs/run/version_1/checkpoints/last-v1.ckpt"),
        (7, "root/checkpoints/last.ckpt"),
        (6, "kept/last.ckpt"),
        (5, "root/hpc_ckpt_3.ckpt"),
    ):
        newest = make_file(tmp_path / place, age)
        assert newest_checkpoint(make_trainer(tmp_path)) == newest


def test_a_folder_that_lost_its_name_to_a_kill_is_found_under_its_name(tmp_path: Path) -> None:
    make_file(tmp_path / f"kept/.last.ckpt.{uuid.uuid4().hex}.old", age=0)
    assert newest_checkpoint(make_trainer(tmp_path)) == str(tmp_path / "kept/last.ckpt")


def test_without_a_checkpoint_the_training_starts_anew_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"no checkpoint of an earlier run in .*root; the training starts from the beginning"
    ):
        assert newest_checkpoint(make_trainer(tmp_path)) is None


def save(path: Path, age: int, **more: object) -> Path:
    make_file(path, age)
    torch.save({"state_dict": {}, **more}, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_a_training_with_a_folder_to_itself_is_resumed_from_its_newest_checkpoint_of_any_name(tmp_path: Path) -> None:
    save(tmp_path / "run/lightning_logs/version_0/checkpoints/last.ckpt", age=3, callbacks={})
    newest = save(tmp_path / "run/checkpoints/epoch=1-step=2.ckpt", age=2, callbacks={})
    save(tmp_path / "run/checkpoints/weights.ckpt", age=1)
    save(tmp_path / "another/checkpoints/last.ckpt", age=0, callbacks={})
    assert arguments_to_resume(tmp_path / "run") == ["--ckpt_path", str(newest)]


def test_a_damaged_checkpoint_is_left_to_the_training_to_refuse(tmp_path: Path) -> None:
    damaged = make_file(tmp_path / "checkpoints/last.ckpt", age=0)
    assert arguments_to_resume(tmp_path) == ["--ckpt_path", damaged]


def test_what_was_killed_before_it_saved_is_removed(tmp_path: Path) -> None:
    save(tmp_path / "run/checkpoints/weights.ckpt", age=0)
    make_file(tmp_path / f"run/checkpoints/.last.ckpt.{uuid.uuid4().hex}.tmp", age=0)
    assert arguments_to_resume(tmp_path / "run") == []
    assert not (tmp_path / "run").exists()
    assert arguments_to_resume(tmp_path / "run") == []


class Line(L.LightningModule):
    """Logs which run it is of; the first dies as its fourth batch begins."""

    def __init__(self, run: float) -> None:
        super().__init__()
        self.run, self.layer = run, torch.nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if self.run == 1 and index == 3:
            raise RuntimeError("killed")
        self.log("run", self.run)
        if index >= 4:
            self.log("late", 7.0)
        return torch.sum(self.layer(batch[0]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())


def train(run: float, logger: Logger, folder: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=1,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=logger,
        callbacks=[ModelCheckpoint(folder / "kept", every_n_train_steps=2, save_top_k=0, save_last=True)],
    )
    ckpt_path = newest_checkpoint(trainer) if run == 2 else None
    continue_version(trainer, ckpt_path)
    trainer.fit(
        Line(run), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(6, 1))), ckpt_path=ckpt_path
    )


# The checkpoint is that of two steps; the first run has logged three.
RUN_OF_STEP = {0: 1.0, 1: 1.0, 2: 2.0, 3: 2.0, 4: 2.0, 5: 2.0}


@pytest.mark.parametrize("version", ["mine", 7])
def test_metrics_of_a_given_version_stay_up_to_the_checkpoint(tmp_path: Path, version: str | int) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train(1, CSVLogger(tmp_path, version=version), tmp_path)
    logger = CSVLogger(tmp_path, version=version)
    file = Path(logger.log_dir, "metrics.csv")
    with file.open("a", encoding="utf-8") as stream:
        stream.write("0,1")  # cut off by a power cut
    train(2, logger, tmp_path)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(int(row["step"]), float(row["run"])) for row in rows] == list(RUN_OF_STEP.items())
    assert [row["late"] for row in rows] == ["", "", "", "", "7.0", "7.0"]


def test_scalars_of_a_given_version_stay_up_to_the_checkpoint(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(RuntimeError, match="killed"):
        train(1, TensorBoardLogger(tmp_path, version="mine"), tmp_path)
    train(2, TensorBoardLogger(tmp_path, version="mine"), tmp_path)
    read = accumulator.EventAccumulator(str(tmp_path / "lightning_logs/mine"))
    read.Reload()
    assert {event.step: event.value for event in read.Scalars("run")} == RUN_OF_STEP
    assert len(read.Scalars("run")) == 6
