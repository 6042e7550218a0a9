"""Reports on a folder of shards, for people: ``summary.json``, ``rejected.jsonl``, ``ungraded.jsonl``."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Literal

from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.shards import ShardStore
from erprm.runs.atomic import whole_file, write_json
from erprm.runs.folder import Json

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
