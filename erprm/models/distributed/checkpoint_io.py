"""Atomic writes of checkpoint files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol

from erprm.runs.atomic import remove_leftovers, whole_file


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

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            FileNotFoundError: if there is none.
        """
        if _is_local_file_protocol(path):
            self._remove_leftovers(Path(path).parent)
        return super().load_checkpoint(path, *args, **kwargs)

    def _remove_leftovers(self, folder: Path) -> None:
        if folder in self._clean_folders:
            return
        self._clean_folders.add(folder)
        remove_leftovers(folder, "*.ckpt")
