"""Verifies a run's folder by reading everything in it again."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.problem_shards import SeenNames, hash_of
from erprm.rollout.running.reports import GATHERED, report_line
from erprm.rollout.running.shards import ShardMark, ShardStore, run_folder
from erprm.runs.folder import DamagedFileError, read_sealed
from erprm.runs.identity import file_sha256


@dataclass
class Verification:
    """Findings of a check of a run's folder.

    Attributes:
        shards: shards of the whole run.
        whole_shards: of these, made and undamaged.
        missing_shards: of these, not made yet.
        counts: sums over the whole shards.
        faults: what is damaged or does not fit together, one line each; another run of the same command repairs it.
        strays: what does not belong there, one line each; it has to be removed by hand.
    """

    shards: int
    whole_shards: int = 0
    missing_shards: int = 0
    counts: RolloutSummary = field(default_factory=RolloutSummary.nothing)
    faults: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """True if the run is done and nothing is wrong."""
        return self.whole_shards == self.shards and not self.faults and not self.strays

    def __str__(self) -> str:
        lines = [
            f"{self.whole_shards} of {self.shards} shards are whole: {self.counts.records:,} records of "
            f"{self.counts.problems:,} problems; {self.counts.rejected_problems:,} problems rejected, "
            f"{self.counts.ungraded_answers:,} answers not graded"
        ]
        if self.missing_shards:
            lines.append(f"{self.missing_shards} shards are not made yet")
        lines += [f"wrong: {fault}" for fault in (*self.faults, *self.strays)]
        if self.missing_shards or self.faults:
            lines.append(
                "To repair: the same command without --verify makes what is missing or wrong, and keeps the rest."
            )
        if self.strays:
            lines.append("To repair: remove the files that do not belong there.")
        if self.counts.rejected_problems or self.counts.ungraded_answers:
            lines.append("Rejected problems and answers not graded are tried again with --retry_rejected true.")
        if self.is_whole:
            lines.append("Nothing is wrong.")
        return "\n".join(lines)


def verify(folder: str | Path) -> Verification:
    """Reads every file of a run; memory grows by eight bytes a problem.

    Raises:
        OutputFolderError: if there is no run in the folder.
    """
    store = ShardStore.of_folder(folder)
    found = Verification(store.num_shards)
    problems, reports = SeenNames(), {name: hashlib.sha256() for name in GATHERED}
    for shard in range(store.num_shards):
        try:
            mark = store.read_mark(shard)
        except FileNotFoundError:
            found.missing_shards += 1
            continue
        except DamagedFileError as error:
            found.faults.append(str(error))
            continue
        faults = list(_faults_of_shard(store, shard, mark, problems))
        found.faults += faults
        found.whole_shards += not faults
        if not faults:
            found.counts += RolloutSummary(**mark.counts)
        for name in GATHERED:
            for entry in getattr(mark, name):
                reports[name].update(report_line(entry, shard))
    if doubled := problems.doubled():
        found.faults += _doubled_problems(store, doubled)
    found.faults += _faults_of_reports(store, found, {name: digest.hexdigest() for name, digest in reports.items()})
    expected = {store.records_path(shard) for shard in range(store.num_shards)}
    found.strays += [
        f"{path}: is not a shard of this run"
        for path in sorted(store.folder.glob("data/*"))
        if path not in expected and not path.name.startswith(".")
    ]
    return found


def _faults_of_shard(store: ShardStore, shard: int, mark: ShardMark, problems: SeenNames) -> Iterator[str]:
    """Problems with a shard's files; also records the problem ids it holds."""
    path = store.records_path(shard)
    if mark.run != store.run:
        yield f"{store.mark_path(shard)}: is of a run with other settings"
        return
    if not path.is_file():
        yield f"{path}: is missing"
        return
    if mark.sha256 != file_sha256(path):
        yield f"{path}: does not fit its checksum"
        return
    try:
        records = store.records_of(shard)
    except ValueError as error:
        yield str(error)
        return
    counts = RolloutSummary(**mark.counts)
    tried = counts.problems + len(mark.rejected)
    size = store.settings["problems_per_shard"]
    ids = {record.problem_id for record in records} | {rejected["problem_id"] for rejected in mark.rejected}
    for problem_id in ids:
        problems.add(problem_id)
    for what, there, expected in (
        ("records", len(records), mark.rows),
        ("records", len(records), counts.records),
        ("correct records", sum(record.correct for record in records), counts.correct_solutions),
        ("rejected problems", len(mark.rejected), counts.rejected_problems),
        ("problems", tried, size if shard < store.num_shards - 1 else tried),
    ):
        if there != expected:
            yield f"{path}: has {there} {what}; {expected} were expected"
    solutions = Counter((record.problem_id, record.seed) for record in records)
    for (problem_id, seed), count in solutions.items():
        if count > 1:
            yield f"{path}: holds the solution with seed {seed} of problem {problem_id!r} {count} times"


def _doubled_problems(store: ShardStore, hashes: frozenset[int]) -> Iterator[str]:
    shards_of: dict[str, list[int]] = {}
    for shard in range(store.num_shards):
        if store.mark_of(shard) is not None:
            for problem_id in {record.problem_id for record in store.records_of(shard)}:
                if hash_of(problem_id) in hashes:
                    shards_of.setdefault(problem_id, []).append(shard)
    for problem_id, shards in shards_of.items():
        yield f"{store.folder}: problem {problem_id!r} is in shards {', '.join(map(str, shards))}"


def _faults_of_reports(store: ShardStore, found: Verification, digests: dict[str, str]) -> Iterator[str]:
    for path in run_folder(store.folder).manifests:
        try:
            read_sealed(path)
        except FileNotFoundError:
            yield f"{path}: is missing"
        except DamagedFileError as error:
            yield str(error)
    if found.whole_shards < found.shards:
        return  # the reports are written when the run is done
    empty = hashlib.sha256().hexdigest()
    for name, digest in digests.items():
        path = store.folder / f"{name}.jsonl"
        if (file_sha256(path) if path.is_file() else empty) != digest:
            yield f"{path}: does not say what the shards do"
    path = store.folder / "summary.json"
    if _json_of(path) != found.counts.to_dict():
        yield f"{path}: does not say what the shards do"


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
