"""Stages of a run, each an atomic folder.

    output_dir/round-1/samples/              a stage that is done
    output_dir/round-1/.scores.unfinished/   a stage under way

A stage with settings has them in its ``manifest.json``. They include the hashes of the stages that it reads, so its own
hash stands for everything before it, and the next run continues it if its settings are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from erprm.runs.atomic import remove
from erprm.runs.folder import MANIFEST, RunFolder, as_json, read_sealed
from erprm.runs.identity import content_hash


class StageFolders:
    """The stages of one run.

    Args:
        folder: the output folder, of which the caller has sole use.
        allow_change: keep stages that were made with other settings.
    """

    def __init__(self, folder: Path, allow_change: bool = False) -> None:
        self.folder = folder
        self._allow_change = allow_change

    def path(self, stage: str) -> Path:
        """Folder of a stage, once it is done."""
        return self.folder / stage

    def hash_of(self, stage: str) -> str:
        """Hash of everything that a finished stage was made from."""
        return content_hash(read_sealed(self.path(stage) / MANIFEST)["settings"])

    def is_done(self, stage: str, settings: Mapping[str, Any] | None = None) -> bool:
        """True if a stage is done.

        Raises:
            OutputFolderError: if it is, with other settings; the message shows both values.
        """
        folder = self.path(stage)
        if settings is None:
            return folder.exists()
        if not (folder / MANIFEST).exists():
            return False
        if not self._allow_change:
            advice = "; with allow_change=true what is done stays, and the rest is made with the present settings"
            RunFolder(folder, "a stage", advice=advice).refuse_other_settings(settings)
        return True

    def make(self, stage: str, build: Callable[[Path], None], settings: Mapping[str, Any] | None = None) -> None:
        """Makes a stage in a hidden folder, which ``build`` fills.

        Args:
            stage: its name.
            build: gets the folder. It may hold a part of the stage already, if that was made with the same settings.
            settings: what determines the stage; ``None``: it is made anew each time.
        """
        folder = self.path(stage)
        unfinished = RunFolder(folder.with_name(f".{folder.name}.unfinished"), "a stage")
        if settings is None or unfinished.stored_settings() != as_json(settings):
            remove(unfinished.path)
        unfinished.path.mkdir(parents=True, exist_ok=True)
        if settings is not None:
            unfinished.write_manifest(settings)
            unfinished.sweep()
        build(unfinished.path)
        unfinished.path.rename(folder)

    def prune(self, stage: str) -> None:
        """Removes the files of a stage, except for what says that it is done."""
        for path in self.path(stage).glob("*"):
            if path.name != MANIFEST:
                remove(path)
