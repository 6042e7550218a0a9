"""Finds the newest checkpoint of earlier runs, and its folder, so that a command run again continues from there."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_warn

from erprm.models.distributed.checkpoints import displaced_folders
from erprm.models.distributed.strategy import METADATA_FILE

_CHECKPOINTS = "checkpoints"


def newest_checkpoint(trainer: L.Trainer) -> str | None:
    """The newest of the checkpoints that ``save_last`` or a signal has left, in any version of the trainer's logs.

    Lightning's own ``ckpt_path="last"`` looks only where the present run will write, which with a logger that counts
    versions is a new folder.

    Returns:
        Its path, or None, with a warning, if there is none: so one command both starts and continues a training.
    """
    root = Path(trainer.default_root_dir)
    found = {path: path for path in root.glob("hpc_ckpt_*.ckpt")}
    for folder in _checkpoint_folders(trainer):
        found.update({path: path for path in folder.glob("last*.ckpt")})
        found.update({name: path for name, path in displaced_folders(folder).items() if name.match("last*.ckpt")})
    if not found:
        rank_zero_warn(f"ckpt_path=last: no checkpoint of an earlier run in {root}; the training starts anew")
        return None
    return str(max(found, key=lambda name: found[name].stat().st_mtime_ns))


def _checkpoint_folders(trainer: L.Trainer) -> Iterator[Path]:
    yield Path(trainer.default_root_dir, _CHECKPOINTS)
    for logger in trainer.loggers:
        if logger.save_dir is not None:
            yield from Path(logger.save_dir, str(logger.name)).glob(f"*/{_CHECKPOINTS}")
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            yield Path(callback.dirpath)


def continue_version(trainer: L.Trainer, ckpt_path: str | None) -> None:
    """Has the loggers that count versions go on in the version that wrote a checkpoint.

    A new version would have a folder of its own, and there ``ModelCheckpoint`` forgets what was best so far. A logger
    that was given a ``version`` keeps it.

    Args:
        trainer: before its training.
        ckpt_path: what the training resumes from: a path, ``hpc``, or None, which under SLURM is ``hpc``, too.
    """
    if ckpt_path == "hpc" or (ckpt_path is None and SLURMEnvironment.detect()):
        ckpt_path = trainer._checkpoint_connector._hpc_resume_path
    if ckpt_path is None or not Path(ckpt_path).exists():
        return
    runs = [folder.resolve().parent for folder in _checkpoint_folders_of(Path(ckpt_path))]
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger | TensorBoardLogger) and logger._version is None:
            run = next((run for run in runs if run.parent == Path(logger.root_dir).resolve()), None)
            if run is not None and run.is_dir():
                number = run.name.removeprefix("version_")
                logger._version = int(number) if number.isdigit() and number != run.name else run.name
                if isinstance(logger, CSVLogger) and trainer.is_global_zero:
                    logger._experiment = _ContinuedMetrics(logger.log_dir)


def _checkpoint_folders_of(path: Path) -> Iterator[Path]:
    """The folders in which the run that wrote a checkpoint kept its checkpoints."""
    if path.parent.name == _CHECKPOINTS:
        yield path.parent
        return
    try:
        file = path / METADATA_FILE if path.is_dir() else path
        callbacks = torch.load(file, map_location="cpu", weights_only=True, mmap=path.is_file()).get("callbacks", {})
    except (OSError, RuntimeError, pickle.UnpicklingError):
        return  # Loading it says what is wrong with it.
    for name, state in callbacks.items():
        if name.startswith("ModelCheckpoint") and state.get("dirpath"):
            yield Path(state["dirpath"])


class _ContinuedMetrics(ExperimentWriter):
    """Appends to the ``metrics.csv`` of the earlier run, which Lightning's own would delete."""

    def _check_log_dir_exists(self) -> None:
        file = Path(self.metrics_file_path)
        if file.is_file():
            with file.open(encoding="utf-8", newline="") as stream:
                self.metrics_keys = next(csv.reader(stream), [])
