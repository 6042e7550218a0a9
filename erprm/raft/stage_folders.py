"""The folders of a run's stages: each is there wholly or not at all, with what it was made from.

    output_dir/round-1/samples/manifest.json   settings that determine the stage, with a hash; then its files
    output_dir/round-1/.scores.unfinished/     a stage under way: continued by the next run if its settings are the same

The settings of a stage include the hash of the stages that it reads, so the hash stands for everything before it.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.rollout.running.shards import differing_settings, read_sealed, write_json_atomically
from erprm.runs.atomic import leftovers_of
from erprm.runs.identity import content_hash

MANIFEST = "manifest.json"


class ChangedSettingsError(InputError):
    """A stage that is done was made with other settings; the message shows both values."""


@contextmanager
def sole_use_of(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder as long as the block lasts.

    Raises:
        ValueError: if another run is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"output_dir {str(folder)!r}: another run is writing into it") from error
        yield


class StageFolders:
    """The stages of one run.

    Args:
        folder: the output folder.
        allow_change: keep stages that were made with other settings.
    """

    def __init__(self, folder: Path, allow_change: bool = False) -> None:
        self.folder = folder
        self._allow_change = allow_change

    def path(self, stage: str) -> Path:
        """Where a stage is, once it is done."""
        return self.folder / stage

    def hash_of(self, stage: str) -> str:
        """Hash of everything that a finished stage was made from."""
        return content_hash(read_sealed(self.path(stage) / MANIFEST)["settings"])

    def is_done(self, stage: str, settings: Mapping[str, Any]) -> bool:
        """Whether a stage is done.

        Raises:
            ChangedSettingsError: if it is, with other settings.
        """
        manifest = self.path(stage) / MANIFEST
        if not manifest.exists():
            return False
        differing = differing_settings(read_sealed(manifest)["settings"], _as_json(settings))
        if differing and not self._allow_change:
            lines = "".join(f"\n  {key}: {there!r} there, {now!r} now" for key, there, now in differing)
            raise ChangedSettingsError(
                f"{str(self.path(stage))!r} was made with other settings:{lines}\n"
                "Give another output_dir, or the same settings to continue that run; with allow_change=true what is "
                "done stays, and the rest is made with the present settings."
            )
        return True

    def make(self, stage: str, settings: Mapping[str, Any], build: Callable[[Path], None]) -> None:
        """Makes a stage: in a hidden folder, which ``build`` fills and which may hold part of it already."""
        folder = self.path(stage)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        values = _as_json(settings)
        content = {"hash": content_hash(values), "settings": values}
        begun = unfinished / MANIFEST
        if not begun.exists() or json.loads(begun.read_text(encoding="utf-8")) != content:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            write_json_atomically(content, begun)
        for part in (unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
            for left_over in leftovers_of(part, "*"):
                left_over.unlink()
        build(unfinished)
        unfinished.rename(folder)

    def prune(self, stage: str) -> None:
        """Removes the files of a stage, except for what says that it is done."""
        for path in self.path(stage).glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != MANIFEST:
                path.unlink()


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(settings))
    return value
