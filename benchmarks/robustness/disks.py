"""Disks of random size, too small for a run: a mount where that is allowed, else a limit on the size of files.

Held: at most five lines that say so, and with room the same command gives the same folder.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.robustness.comparison import difference
from benchmarks.robustness.workplace import COMMANDS, Ended, Row, Workplace, last_line, no_plain_end
from erprm.runs.atomic import remove


def disks(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Runs a command on disks that are too small for it, and again once there is room."""
    whole, ended = place.whole(name)
    row = Row("disks", name, seconds=ended.seconds)
    sizes = [path.stat().st_size for path in whole.rglob("*") if path.is_file() and not path.is_symlink()]
    remove(place.work)
    for number in range(count):
        share = (number + rng.random()) / count
        with _disk(place.work) as has_size:
            if has_size is None:
                full = _run_anew(place, name, limit=int(share * max(sizes)))
            else:
                has_size(max(2, int(share * sum(-(-size // 4096) + 1 for size in sizes))) * 4096)
                full = _run_anew(place, name)
                has_size(2**30)
            if not full.status:
                continue  # That was room enough.
            fault = no_plain_end(full)
            if fault is None and not any(text in full.said for text in ("No space left", "no space left", "too large")):
                fault = f"does not say that the disk is full: {last_line(full)}"
            finished = place.run(COMMANDS[name])
            if finished.status:
                fault = f"with room again: {last_line(finished)}"
            row.add(fault or difference(whole, place.work))
        remove(place.work)
    return row


def _run_anew(place: Workplace, name: str, **settings: Any) -> Ended:
    place.clean()
    return place.run(COMMANDS[name], **settings)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Callable[[int], None] | None]:
    """A file system in memory on a folder, and what sets its size; None where that may not be mounted."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=64k", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield lambda size: subprocess.run([*mount, f"remount,size={size}", "tmpfs", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
