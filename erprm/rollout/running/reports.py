"""Reports on a folder of shards, for people (``summary.json``, ``rejected.jsonl``, ``ungraded.jsonl``), and merging.

The folders of parts of a run become one folder, which is reported on as a whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.shards import ShardStore
from erprm.runs.atomic import whole_file, write_json
from erprm.runs.folder import Json, OutputFolderError, differing_lines
from erprm.runs.lock import sole_use

# Name of a list of a shard's mark, and of the file that gathers it.
GATHERED: tuple[Literal["rejected", "ungraded"], ...] = ("rejected", "ungraded")


def write_reports(store: ShardStore, *, shared: bool = False) -> RolloutSummary | None:
    """Rewrites the reports from the records of the shards, which are read once.

    ``summary.json`` is for whole runs only; files of rejected problems or ungraded answers exist only if there are any.

    Args:
        store: the shards.
        shared: whether other processes may be at work on the same run; then nothing is written before it is whole.

    Returns:
        The counts of the whole run; ``None`` while shards are missing.
    """
    store.catch_up()
    if shared and any(mark is None for _, mark in store.marks()):
        return None
    total, is_whole, lines = RolloutSummary.nothing(), True, dict.fromkeys(GATHERED, 0)
    paths = {name: store.folder / f"{name}.jsonl" for name in GATHERED}
    with ExitStack() as stack:
        files = {name: stack.enter_context(whole_file(path)) for name, path in paths.items()}
        for shard, mark in store.marks():
            if mark is None:
                is_whole = False
                continue
            total += RolloutSummary(**mark.counts)
            for name in GATHERED:
                for entry in getattr(mark, name):
                    files[name].write(report_line(entry, shard))
                    lines[name] += 1
    for name, path in paths.items():
        if not lines[name]:
            path.unlink(missing_ok=True)
    summary_path = store.folder / "summary.json"
    if not is_whole:
        summary_path.unlink(missing_ok=True)
        return None
    write_json(total.to_dict(), summary_path)
    return total


def report_line(entry: Json, shard: int) -> bytes:
    """A rejected problem or an ungraded answer as a line of its file."""
    return json.dumps({**entry, "shard": shard}, ensure_ascii=False).encode() + b"\n"


def merge(output: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]]) -> RolloutSummary:
    """Copies the shards of several folders of the same run into one; what already exists stays.

    Args:
        output: folder of the whole run; created if it does not exist.
        folders: where the parts are; every shard has to be in exactly one of them.

    Returns:
        The counts of the whole run.

    Raises:
        OutputFolderError: if a folder holds no run, if settings differ (named with both values), or if a shard is
            in several folders, or undamaged in none.
        InUseError: if another command is writing into ``output``.
        OSError: if a shard cannot be copied.
    """
    parts = [ShardStore.of_folder(folder) for folder in folders]
    first = parts[0]
    for other in parts[1:]:
        if lines := differing_lines(first.settings, other.settings, ("in the first", "in the second")):
            raise OutputFolderError(f"{first.folder} and {other.folder} hold runs with other settings:{lines}")
    holders = {shard: [part for part in parts if part.mark_path(shard).exists()] for shard in range(first.num_shards)}
    if doubled := {shard: held for shard, held in holders.items() if len(held) > 1}:
        shard, held = next(iter(doubled.items()))
        raise OutputFolderError(
            f"{len(doubled)} shards are in several folders, the first, {shard}, in {held[0].folder} and "
            f"{held[1].folder}; remove all of a part but one"
        )
    with sole_use(Path(output)):
        return _adopt_all(ShardStore(output, first.settings, first.num_shards), holders)


def _adopt_all(store: ShardStore, holders: dict[int, list[ShardStore]]) -> RolloutSummary:
    store.sweep(range(store.num_shards))
    store.begin()
    missing = []
    for shard, held in holders.items():
        if store.mark_of(shard) is None:
            mark = held[0].mark_of(shard) if held else None
            if mark is None:
                missing.append(shard)
            else:
                store.adopt(shard, held[0], mark)
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise OutputFolderError(
            f"{len(missing)} of {store.num_shards} shards are missing or damaged in every folder: {shown}; run the "
            f"command of their part again, then merge again. What was found is in {store.folder}"
        )
    summary = write_reports(store)
    assert summary is not None, "no shard is missing"
    return summary
