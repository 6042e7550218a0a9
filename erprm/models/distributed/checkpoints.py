"""Atomic checkpoint files, and the renames that make checkpoint folders atomic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol

from erprm.models.distributed.untrusted import refusing_code
from erprm.runs.atomic import final_name, hidden_beside, hidden_name, remove, remove_leftovers, sync, whole_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name beside its own, and renames it once it is on the disk.

    A process killed while it saves leaves the earlier file as it was. What it has written so far is removed when the
    next process first reads from or writes into the folder. (Lightning 2.6's own plugin holds the whole file in memory
    and writes it into the system's temporary folder first; from there it is copied, if that is another file system.)
    Paths that are not local are left to Lightning's.
    """

    def __init__(self) -> None:
        self._clean_folders: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Writes a checkpoint.

        Raises:
            TypeError: if there are storage options, of which a local file has none.
        """
        if storage_options is not None or not _is_local_file_protocol(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        self._remove_leftovers(Path(path).parent)
        with whole_file(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint, of another machine as well, without running code that it names.

        Raises:
            FileNotFoundError: if there is none.
            CheckpointError: if it names code, unless ``weights_only`` is False.
        """
        if _is_local_file_protocol(path):
            self._remove_leftovers(Path(path).parent)
        with refusing_code(path):
            return super().load_checkpoint(path, map_location, weights_only is not False)

    def _remove_leftovers(self, folder: Path) -> None:
        if folder in self._clean_folders:
            return
        self._clean_folders.add(folder)
        remove_leftovers(folder, "*.ckpt")


def exchange_folder(new: Path, path: Path) -> None:
    """Gives a folder its name, and removes what had the name before."""
    for file in new.iterdir():
        sync(file)
    earlier = hidden_name(path, "old")
    if path.exists():
        path.rename(earlier)
    new.rename(path)
    remove(earlier)


def displaced_folders(parent: Path) -> dict[Path, Path]:
    """The folders left without their name by a process killed between the two renames: name to present path."""
    by_name = {final_name(path): path for path in hidden_beside(parent, suffix="old")}
    return {name: path for name, path in by_name.items() if not name.exists()}


def restore_folders(parent: Path) -> None:
    """Cleans up after a process that was killed while it wrote a checkpoint folder.

    Args:
        parent: where the checkpoints are. No other process may be writing there.
    """
    for name, path in displaced_folders(parent).items():
        path.rename(name)
    for unfinished in (*hidden_beside(parent), *hidden_beside(parent, suffix="old")):
        remove(unfinished)
