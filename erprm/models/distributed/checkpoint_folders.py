"""Atomic checkpoint folders, into which each process writes its part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.runs.atomic import final_name, hidden_beside, hidden_name, remove, sync

if TYPE_CHECKING:
    from lightning.pytorch.strategies import ModelParallelStrategy as _Strategy
else:
    _Strategy = object


class WholeCheckpointFolders(_Strategy):
    """To be mixed into a strategy that writes such folders: they are written under a temporary name, then renamed.

    Lightning 2.6's strategies write into the folder in place, so a process killed while it overwrites ``last.ckpt``
    leaves parts of two checkpoints in it. Here the earlier folder stays until the new one is whole. Between the two
    renames that exchange them neither has the name; the next process that reads from or writes beside it puts
    the earlier one back.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint; every process calls it."""
        path = Path(self.broadcast(filepath))
        if not self._save_distributed_checkpoint:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        temporary = self.broadcast(hidden_name(path))
        if self.is_global_zero:
            restore_folders(path.parent)
        self.barrier()
        super().save_checkpoint(checkpoint, temporary, storage_options)
        self.barrier()
        if self.is_global_zero:
            exchange_folder(temporary, path)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint; every process calls it."""
        path = Path(self.broadcast(checkpoint_path))
        if self.is_global_zero:
            restore_folders(path.parent)
        self.barrier()
        return super().load_checkpoint(path, weights_only)


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
