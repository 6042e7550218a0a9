"""Run folders, each with a record of the settings that determine its content.

``manifest.json`` holds the settings and a hash of them, which stands for the run. A run with other settings into the
same folder is refused; with the same ones it continues where it stopped. A run may consist of stages, each an atomic
folder whose settings include the hashes of the stages that it reads, so its own hash stands for everything before it:

    output_dir/round-1/samples/              a stage that is done
    output_dir/round-1/.scores.unfinished/   a stage under way

or of parts: files of JSON lines, each written whole from some of the items, so a kill loses at most one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from erprm.errors import InputError
from erprm.runs.atomic import remove, remove_leftovers, write_json, write_json_lines
from erprm.runs.identity import content_hash

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
Json = dict[str, Any]


class OutputFolderError(InputError):
    """The output folder holds something else than an earlier part of the same run."""


class DamagedFileError(InputError):
    """A file of the run's own bookkeeping is not what was written."""


class RunFolder:
    """The folder of a run.

    Args:
        path: where it is; it need not be there.
        what: what is in it, for messages: ``a search``.
        copy: path, from the folder on, of a second manifest, in case the first is damaged.
        former: name of a file with the plain settings, which folders of earlier versions have for a manifest.
        advice: what else to do about other settings; ends the message.
    """

    def __init__(
        self, path: Path, what: str, *, copy: str | None = None, former: str | None = None, advice: str = ""
    ) -> None:
        self.path = path
        self.manifests = (path / MANIFEST,) if copy is None else (path / MANIFEST, path / copy)
        self._former = None if former is None else path / former
        self._what, self._advice = what, advice

    def stored_settings(self) -> Json | None:
        """The settings of the run in the folder; ``None`` if no manifest of one is there and whole."""
        for manifest in self.manifests:
            try:
                settings: Json = read_sealed(manifest)["settings"]
            except FileNotFoundError:
                continue
            except DamagedFileError as error:
                log.warning("%s", error)
                continue
            return settings
        try:
            former: Json | None = None if self._former is None else json.loads(self._former.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            log.warning("%s: is damaged", self._former)
            return None
        return former

    def refuse_other_settings(self, settings: Mapping[str, Any]) -> None:
        """Compares the settings of the run in the folder with others, as JSON has them.

        Raises:
            OutputFolderError: if some differ, named with both values; or if there is something else in the folder.
        """
        stored = self.stored_settings()
        if stored is None:
            self._refuse_something_else()
        elif lines := differing_lines(stored, as_json(settings)):
            raise OutputFolderError(
                f"{str(self.path)!r} holds {self._what} with other settings:{lines}\n"
                f"Give another output_dir, or the same settings to continue that one{self._advice}."
            )

    def _refuse_something_else(self) -> None:
        own = {manifest.name for manifest in (*self.manifests, self._former) if manifest is not None}
        names = {path.name for path in self.path.glob("*") if not path.name.startswith(".")}
        if names - own:
            raise OutputFolderError(
                f"output_dir {str(self.path)!r} is not empty ({', '.join(sorted(names)[:5])}) and has no {MANIFEST} of "
                f"{self._what}; give an empty or new folder"
            )

    def write_manifest(self, settings: Mapping[str, Any]) -> None:
        """Writes down what the content is determined by, where that is not written yet."""
        values = as_json(settings)
        content = {"hash": content_hash(values), "settings": values}
        for manifest in self.manifests:
            try:
                is_written = read_sealed(manifest) == {"settings": values}
            except (FileNotFoundError, DamagedFileError):
                is_written = False
            if not is_written:
                write_json(content, manifest)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Begins a run in the folder or continues it, for one who has sole use of it.

        Raises:
            OutputFolderError: as :meth:`refuse_other_settings`.
        """
        self.refuse_other_settings(settings)
        self.write_manifest(settings)
        self.sweep()

    def sweep(self) -> None:
        """Removes what killed processes left half-written, anywhere in the folder, for one who has sole use of it."""
        for folder in (self.path, *(path for path in self.path.rglob("*") if path.is_dir())):
            remove_leftovers(folder)


def as_json(settings: Mapping[str, Any]) -> Json:
    """Settings as they are read back from a manifest: tuples as lists, keys in order."""
    value: Json = json.loads(json.dumps(settings, sort_keys=True))
    return value


def differing_lines(one: Mapping[str, Any], other: Mapping[str, Any], where: tuple[str, str] = ("there", "now")) -> str:
    """Names of the settings that differ, nested ones with dots, with both values; a line each, for a message."""
    one, other = _flat(one), _flat(other)
    return "".join(
        f"\n  {key}: {one.get(key)!r} {where[0]}, {other.get(key)!r} {where[1]}"
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    )


def _flat(settings: Mapping[str, Any], above: str = "") -> Json:
    flat: Json = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{above}{key}."))
        else:
            flat[above + key] = value
    return flat


def sealed(content: Mapping[str, Any]) -> Json:
    """Content with its hash, for :func:`read_sealed`."""
    return {"hash": content_hash(content), **content}


def read_sealed(path: Path) -> Json:
    """The content of a JSON object beside its hash.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it does not fit the hash.
    """
    try:
        content: Json = json.loads(path.read_text("utf-8"))
        digest = content.pop("hash")
        # The hash of a manifest is that of its settings: the run's.
        is_whole = digest == content_hash(content.get("settings", content))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise DamagedFileError(f"{path}: is damaged")
    return content


Item = TypeVar("Item")
Row = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """The parts in a folder.

    Attributes:
        folder: where they are.
        size: items to a part; the last may have fewer.
        prefix: of their names, before the number.
    """

    folder: Path
    size: int
    prefix: str = ""

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{self.prefix}{number:05d}.jsonl"

    def of(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The items of each part."""
        return [items[start : start + self.size] for start in range(0, len(items), self.size)]

    def is_done(self, number: int) -> bool:
        """True if the file of a part exists."""
        return self.path(number).exists()

    def write(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the rows of a part."""
        write_json_lines(rows, self.path(number))

    def make(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Mapping[str, Any]]]) -> None:
        """Makes the parts that are missing; ``work`` makes rows of the items of one."""
        for number, part in enumerate(self.of(items)):
            if not self.is_done(number):
                self.write(number, work(part))

    def rows(self, parts: int) -> Iterator[Row]:
        """The rows of so many parts, in order.

        Raises:
            DamagedFileError: if a line is not JSON; says what to do.
        """
        for path in map(self.path, range(parts)):
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        raise DamagedFileError(
                            f"{path}, line {number}: is damaged; delete the file, and the same command makes it again"
                        ) from error


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
