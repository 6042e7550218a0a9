import os
import uuid
from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from erprm.models.training.newest_checkpoint import newest_checkpoint


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
    with pytest.warns(UserWarning, match=r"no checkpoint of an earlier run in .*root; the training starts anew"):
        assert newest_checkpoint(make_trainer(tmp_path)) is None
