"""Finds the newest checkpoint of earlier runs, and its folder, so that a command run again continues from there."""

from __future__ import annotations

import csv
import io
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_warn

from erprm.models.distributed.checkpoints import displaced_folders
from erprm.models.distributed.strategy import METADATA_FILE
from erprm.runs.atomic import remove, write_text

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
        found.update(_checkpoints(folder, "last*.ckpt"))
    if not found:
        rank_zero_warn(
            f"ckpt_path=last: no checkpoint of an earlier run in {root}; the training starts from the beginning"
        )
        return None
    return str(max(found, key=lambda name: found[name].stat().st_mtime_ns))


def arguments_to_resume(root: Path) -> list[str]:
    """Arguments with which a command resumes its training from the newest checkpoint below a folder, whatever its name.

    A folder without one is removed: it holds what a training left that was killed before it had saved.

    Args:
        root: the ``default_root_dir`` of this training and of no other.
    """
    found: dict[Path, Path] = {}
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        found.update(_checkpoints(folder, "*.ckpt"))
    for name in sorted(found, key=lambda name: found[name].stat().st_mtime_ns, reverse=True):
        saved = read_checkpoint(found[name])
        if not saved or "callbacks" in saved:  # otherwise it has nothing but weights
            return ["--ckpt_path", str(name)]
    remove(root)
    return []


def _checkpoints(folder: Path, pattern: str) -> dict[Path, Path]:
    """Checkpoints in a folder by their names, and where they are at present."""
    displaced = {name: path for name, path in displaced_folders(folder).items() if name.match(pattern)}
    return {path: path for path in folder.glob(pattern)} | displaced


def _checkpoint_folders(trainer: L.Trainer) -> Iterator[Path]:
    yield Path(trainer.default_root_dir, _CHECKPOINTS)
    for logger in trainer.loggers:
        if logger.save_dir is not None:
            yield from Path(logger.save_dir, str(logger.name)).glob(f"*/{_CHECKPOINTS}")
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            yield Path(callback.dirpath)


def continue_version(trainer: L.Trainer, ckpt_path: str | None) -> None:
    """Has the loggers that count versions go on in the version that wrote a checkpoint, after what it had logged.

    A new version would have a folder of its own, and there ``ModelCheckpoint`` forgets what was best so far. A logger
    that was given a ``version`` keeps it. Rows of steps that come after the checkpoint are logged once more, so
    the earlier ones go.

    Args:
        trainer: before its training.
        ckpt_path: what the training resumes from: a path, ``hpc``, or None, which under SLURM is ``hpc``, too.
    """
    if ckpt_path == "hpc" or (ckpt_path is None and SLURMEnvironment.detect()):
        ckpt_path = trainer._checkpoint_connector._hpc_resume_path
    if ckpt_path is None or not Path(ckpt_path).exists():
        return
    saved = read_checkpoint(Path(ckpt_path))
    runs = [folder.resolve().parent for folder in _checkpoint_folders_of(Path(ckpt_path), saved)]
    steps = saved.get("global_step")
    for logger in trainer.loggers:
        if not isinstance(logger, CSVLogger | TensorBoardLogger):
            continue
        if logger._version is None:
            run = next((run for run in runs if run.parent == Path(logger.root_dir).resolve()), None)
            if run is None or not run.is_dir():
                continue
            number = run.name.removeprefix("version_")
            logger._version = int(number) if number.isdigit() and number != run.name else run.name
        if isinstance(logger, TensorBoardLogger):
            logger._kwargs.setdefault("purge_step", steps)
        elif trainer.is_global_zero:
            logger._experiment = _ContinuedMetrics(logger.log_dir, math.inf if steps is None else steps)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, whose tensors are not read; empty if it cannot be read, as loading it says what is wrong."""
    try:
        file = path / METADATA_FILE if path.is_dir() else path
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=path.is_file())
        return saved
    except (OSError, RuntimeError, pickle.UnpicklingError):
        return {}


def _checkpoint_folders_of(path: Path, saved: Mapping[str, Any]) -> Iterator[Path]:
    """The folders in which the run that wrote a checkpoint kept its checkpoints."""
    if path.parent.name == _CHECKPOINTS:
        yield path.parent
        return
    for name, state in saved.get("callbacks", {}).items():
        if name.startswith("ModelCheckpoint") and state.get("dirpath"):
            yield Path(state["dirpath"])


class _ContinuedMetrics(ExperimentWriter):
    """Appends to the ``metrics.csv`` of the earlier run, which Lightning's own would delete.

    Args:
        log_dir: folder of the run.
        steps: how many steps the earlier run had done when it saved; its rows of later ones are dropped.
    """

    def __init__(self, log_dir: str, steps: float) -> None:
        self._steps = steps
        self._logged: set[tuple[int, frozenset[str]]] = set()
        super().__init__(log_dir)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Records metrics, but for those that the earlier run had logged at that step.

        An epoch that ends a second time has lost the means over its batches; the earlier row has them.
        """
        super().log_metrics(metrics_dict, step)
        if (self.metrics[-1]["step"], frozenset(self.metrics[-1])) in self._logged:
            self.metrics.pop()

    def _check_log_dir_exists(self) -> None:
        file = Path(self.metrics_file_path)
        if not file.is_file():
            return
        # A kill or a power cut may have left the last line unfinished.
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        read = csv.DictReader(line for line in lines if line.endswith("\n"))
        rows = [row for row in read if (row.get("step") or "").isdigit() and int(row["step"]) < self._steps]
        self.metrics_keys = list(read.fieldnames or [])
        self._logged = {(int(row["step"]), frozenset(key for key, value in row.items() if value)) for row in rows}
        self._write(rows)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with Path(self.metrics_file_path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self._write(rows)

    def _write(self, rows: Sequence[Mapping[str, str]]) -> None:
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        write_text(written.getvalue(), Path(self.metrics_file_path))
