"""A folder of Parquet shards that a killed run can be continued in.

    output_dir/
      manifest.json                          what the content is determined by, and a hash of it
      data/train-00000-of-00042.parquet      the records of shard 0
      .shards/00000.json                     written after it: its checksum and counts; shard 0 is done
      summary.json                           of the whole run, once every shard is done

A shard counts as done only with its file in ``.shards``, which is written last. A kill before that costs the shard in
flight: the next run writes the same file name anew, so no row is doubled. ``datasets.load_dataset(output_dir)`` reads
the folder as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erprm.data.records import RolloutRecord, write_records

FORMAT_VERSION = 1


class OutputFolderError(ValueError):
    """The output folder holds something else than an earlier part of the same run."""


class ShardStore:
    """The shards of one run.

    Args:
        folder: the output folder; made if it is not there.
        settings: everything that determines the content, as JSON values.
        num_shards: shards of the whole run.

    Raises:
        OutputFolderError: if the folder holds another run; names the settings that differ, with both values.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any], num_shards: int) -> None:
        self.folder = Path(folder)
        self.num_shards = num_shards
        given = {**settings, "format_version": FORMAT_VERSION, "num_shards": num_shards}
        self._settings: dict[str, Any] = json.loads(json.dumps(given))
        self._stored = self._stored_settings()
        self._refuse_other_settings(self._settings)

    def begin(self, **settled: str) -> None:
        """Writes the manifest, before the first shard.

        Args:
            **settled: settings that are known only now, such as the hash of a model's weights.

        Raises:
            OutputFolderError: if the folder's shards were made with other values of these.
        """
        self._settings.update(settled)
        self._refuse_other_settings(self._settings)
        digest = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()
        write_json_atomically({"hash": digest, "settings": self._settings}, self.folder / "manifest.json")

    def _stored_settings(self) -> dict[str, Any] | None:
        """The settings of the shards in the folder; ``None`` if there is no shard yet.

        Raises:
            OutputFolderError: if the folder holds files of something else.
        """
        names = {path.name for path in self.folder.glob("*") if not path.name.startswith(".")}
        if "manifest.json" not in names and names:
            raise OutputFolderError(
                f"output_dir {str(self.folder)!r} is not empty ({', '.join(sorted(names)[:5])}) and has no "
                "manifest.json of a rollout run; give an empty or new folder"
            )
        # A run that stopped before its first shard binds nobody to its settings.
        if not any(self.folder.glob("data/*.parquet")):
            return None
        settings: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text("utf-8"))["settings"]
        return settings

    def _refuse_other_settings(self, given: Mapping[str, Any]) -> None:
        if self._stored is None:
            return
        there, now = _flat(self._stored), _flat(given)
        # What only the manifest has is settled later, by `begin`.
        differing = [key for key in sorted(now) if there.get(key) != now[key]]
        if differing:
            lines = "".join(f"\n  {key}: {there.get(key)!r} there, {now[key]!r} now" for key in differing)
            raise OutputFolderError(
                f"output_dir {str(self.folder)!r} holds a run with other settings:{lines}\n"
                "Give another output_dir, or the same settings to continue that run."
            )

    def records_path(self, shard: int) -> Path:
        """The Parquet file of a shard."""
        return self.folder / "data" / f"train-{shard:05d}-of-{self.num_shards:05d}.parquet"

    def _done_path(self, shard: int) -> Path:
        return self.folder / ".shards" / f"{shard:05d}.json"

    def counts_of(self, shard: int) -> dict[str, Any] | None:
        """What :meth:`write` was given as counts; ``None`` if the shard is not done or its file has changed since."""
        try:
            done: dict[str, Any] = json.loads(self._done_path(shard).read_text("utf-8"))
            intact = done["sha256"] == _sha256(self.records_path(shard))
        except FileNotFoundError:
            return None
        return dict(done["counts"]) if intact else None

    def write(self, shard: int, records: Sequence[RolloutRecord], counts: Mapping[str, Any]) -> None:
        """Writes the records of a shard, then marks it as done."""
        path = self.records_path(shard)
        for left_over in path.parent.glob(f".{path.name}.*.tmp"):
            left_over.unlink()
        write_records(records, path)
        _sync_folder(path.parent)
        done = {"sha256": _sha256(path), "rows": len(records), "counts": dict(counts)}
        write_json_atomically(done, self._done_path(shard))


def write_json_atomically(value: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON file that is there wholly or not at all, even across a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes renames in a folder last across a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{above}{key}."))
        else:
            flat[above + key] = value
    return flat
