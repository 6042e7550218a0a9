"""A folder of Parquet shards in which a killed run can continue.

    output_dir/
      manifest.json                          the settings that determine the content, and their hash
      data/train-00000-of-00042.parquet      the records of shard 0
      .shards/00000.json                     written after it: checksum, counts, rejected problems; shard 0 is done
      .shards/manifest.json                  a copy, in case the manifest is damaged
      summary.json, rejected.jsonl           of the whole run (see `erprm.rollout.running.reports`)

A shard counts as done only with its file in ``.shards``, which is written last. A kill before that costs the shard in
flight: the next run writes the same file name anew, so no row is doubled. ``datasets.load_dataset(output_dir)`` reads
the folder as it is.

Several processes may write shards of their own into one folder at the same time.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from erprm.data.records import RolloutRecord, read_records, write_records
from erprm.runs.atomic import hidden_beside, sync, whole_file, write_json
from erprm.runs.folder import (
    DamagedFileError,
    Json,
    OutputFolderError,
    RunFolder,
    as_json,
    read_sealed,
    sealed,
)
from erprm.runs.identity import content_hash, file_sha256

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
# A folder of more files than these is of no use, and a manifest that asks for them would be looked through for days.
MOST_SHARDS = 1_000_000


@dataclass(frozen=True)
class ShardMark:
    """Record of a finished shard.

    Attributes:
        run: hash of the run's settings.
        sha256: checksum of the shard's file.
        rows: records in it.
        counts: what was counted on the way.
        rejected: problems that gave no record, each with its id and the reason.
        ungraded: answers that the grader had to give up on; they count as wrong.
    """

    run: str
    sha256: str
    rows: int
    counts: Json
    rejected: list[Json] = field(default_factory=list)
    ungraded: list[Json] = field(default_factory=list)


class ShardStore:
    """The shards of one run.

    Args:
        folder: the output folder; created if it does not exist.
        settings: everything that determines the content, as JSON values.
        num_shards: shards of the whole run.
        shared: whether other processes write shards of the same run into the folder now.

    Attributes:
        settings: everything that determines the content, as far as it is known.

    Raises:
        OutputFolderError: if the folder holds another run; names the settings that differ, with both values.
    """

    def __init__(
        self, folder: str | os.PathLike[str], settings: Mapping[str, Any], num_shards: int, shared: bool = False
    ) -> None:
        if num_shards > MOST_SHARDS:
            raise OutputFolderError(
                f"the run would have {num_shards:,} shards; a folder holds at most {MOST_SHARDS:,}: raise "
                "problems_per_shard"
            )
        self.folder = Path(folder)
        self.num_shards = num_shards
        self._shared = shared
        self._run_folder = run_folder(self.folder)
        self.settings = as_json({**settings, "format_version": FORMAT_VERSION, "num_shards": num_shards})
        self._refuse_other_settings()

    @classmethod
    def of_folder(cls, folder: str | os.PathLike[str]) -> ShardStore:
        """The shards in the folder of a run, whatever its settings are.

        Raises:
            OutputFolderError: if there is no run in the folder.
        """
        settings = run_folder(Path(folder)).stored_settings()
        shards = (settings or {}).get("num_shards", 0)
        if type(shards) is not int or not 0 <= shards <= MOST_SHARDS:
            raise OutputFolderError(
                f"the manifest of {str(folder)!r} says {shards!r:.40} shards; expected 0 to {MOST_SHARDS:,}"
            )
        if settings is None:
            raise OutputFolderError(f"{str(folder)!r} has no manifest.json of a rollout run")
        return cls(folder, settings, settings["num_shards"])

    @property
    def run(self) -> str:
        """Hash of the settings."""
        return content_hash(self.settings)

    def sweep(self, shards: range) -> None:
        """Removes what processes that were killed have left half-written, before others begin.

        Args:
            shards: of these shards only; if they are all there are, of everything.
        """
        for folder in (self.folder, self.folder / "data", self.folder / ".shards"):
            for left_over in hidden_beside(folder):
                number = re.match(r"\.(?:train-)?(\d+)", left_over.name)
                if len(shards) == self.num_shards if number is None else int(number[1]) in shards:
                    left_over.unlink(missing_ok=True)

    def begin(self, **settled: str) -> None:
        """Writes the manifest, before the first shard.

        Args:
            **settled: settings that are known only now, such as the hash of a model's weights.

        Raises:
            OutputFolderError: if the folder's shards were made with other values of these.
        """
        self.settings.update(settled)
        self._refuse_other_settings()
        self._run_folder.write_manifest(self.settings)

    def catch_up(self) -> None:
        """Takes over what was settled by the processes that made the shards, and puts a damaged manifest right.

        Raises:
            OutputFolderError: if the folder holds another run by now.
        """
        if self._run_folder.stored_settings() is not None:
            self._refuse_other_settings()
            self._run_folder.write_manifest(self.settings)

    def _refuse_other_settings(self) -> None:
        """Compares with the run in the folder, and takes over those of its settings that are not known yet."""
        stored = self._run_folder.stored_settings()
        # A run that stopped before its first shard binds nobody to its settings.
        if stored is not None and not self._shared and not any(self.folder.glob("data/*.parquet")):
            return
        self._run_folder.refuse_other_settings({**(stored or {}), **self.settings})
        self.settings = stored or self.settings

    @property
    def _width(self) -> int:
        """Digits of a shard's number, so that the order of the names is that of the shards."""
        return max(5, len(str(self.num_shards)))

    def records_path(self, shard: int) -> Path:
        """The Parquet file of a shard."""
        return self.folder / "data" / f"train-{shard:0{self._width}d}-of-{self.num_shards:0{self._width}d}.parquet"

    def mark_path(self, shard: int) -> Path:
        """The file that marks a shard as done."""
        return self.folder / ".shards" / f"{shard:0{self._width}d}.json"

    def mark_of(self, shard: int) -> ShardMark | None:
        """Record of a shard; ``None`` if it is not done, or if one of its files has changed since."""
        try:
            mark = self.read_mark(shard)
            intact = mark.sha256 == file_sha256(self.records_path(shard))
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            log.warning("%s; the shard is made again", error)
            return None
        return mark if intact and mark.run == self.run else None

    def read_mark(self, shard: int) -> ShardMark:
        """Record of a shard, even if its data file is missing.

        Raises:
            FileNotFoundError: if it is not done.
            DamagedFileError: if the file that marks it is damaged.
        """
        path = self.mark_path(shard)
        content = read_sealed(path)
        try:
            return ShardMark(**content)
        except TypeError as error:
            raise DamagedFileError(f"{path}: was written by another version of this package") from error

    def marks(self) -> Iterator[tuple[int, ShardMark | None]]:
        """Every shard with what is written down about it; its records are not looked at."""
        for shard in range(self.num_shards):
            try:
                mark = self.read_mark(shard)
            except (FileNotFoundError, DamagedFileError):
                yield shard, None
            else:
                yield shard, mark if mark.run == self.run else None

    def records_of(self, shard: int) -> list[RolloutRecord]:
        """The records of a shard."""
        return list(read_records(self.records_path(shard)))

    def write(
        self,
        shard: int,
        records: Sequence[RolloutRecord],
        counts: Mapping[str, Any],
        rejected: Sequence[Json] = (),
        ungraded: Sequence[Json] = (),
    ) -> ShardMark:
        """Writes the records of a shard, then marks it as done.

        Raises:
            OutputFolderError: if the manifest is another run's by now.
            OSError: if the files cannot be written, for want of room for one; names the file. What was there before
                is there still.
        """
        path = self.records_path(shard)
        self._refuse_takeover()
        try:
            write_records(records, path)
            return self._mark(shard, len(records), counts, rejected, ungraded)
        except OSError as error:
            raise _with_advice(error, path) from error

    def adopt(self, shard: int, other: ShardStore, mark: ShardMark) -> None:
        """Copies a shard of another folder of the same run."""
        path = self.records_path(shard)
        self._refuse_takeover()
        try:
            with other.records_path(shard).open("rb") as original, whole_file(path) as copy:
                shutil.copyfileobj(original, copy)
            if file_sha256(path) != mark.sha256:
                raise DamagedFileError(f"{other.records_path(shard)}: changed while it was being copied")
            self._mark(shard, mark.rows, mark.counts, mark.rejected, mark.ungraded)
        except OSError as error:
            raise _with_advice(error, path) from error

    def _refuse_takeover(self) -> None:
        if self._run_folder.stored_settings() != self.settings:
            raise OutputFolderError(
                f"output_dir {str(self.folder)!r} has meanwhile been taken over by a run with other settings; give "
                "each run its own folder"
            )

    def _mark(
        self, shard: int, rows: int, counts: Mapping[str, Any], rejected: Sequence[Json], ungraded: Sequence[Json]
    ) -> ShardMark:
        path = self.records_path(shard)
        sync(path.parent)
        mark = ShardMark(self.run, file_sha256(path), rows, dict(counts), list(rejected), list(ungraded))
        write_json(sealed(asdict(mark)), self.mark_path(shard))
        return mark


def run_folder(folder: Path) -> RunFolder:
    """The folder of a rollout run, with its manifest and a copy of that."""
    return RunFolder(folder, "a rollout run", copy=".shards/manifest.json")


def _with_advice(error: OSError, path: Path) -> OSError:
    advice = "the shards written before are whole, and the same command continues with this one"
    return OSError(error.errno, f"{error.strerror or error}: {advice}", str(path))
