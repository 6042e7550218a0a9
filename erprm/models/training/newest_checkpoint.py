"""Finds the newest checkpoint of earlier runs, so that a command that is run again continues from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn

from erprm.models.distributed.checkpoint_folders import displaced_folders


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
    yield Path(trainer.default_root_dir, "checkpoints")
    for logger in trainer.loggers:
        if logger.save_dir is not None:
            yield from Path(logger.save_dir, str(logger.name)).glob("*/checkpoints")
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
            yield Path(callback.dirpath)
