"""Commands that are killed, run out of disk, or read what is damaged: how often it was tried, and how often it held.

    python -m benchmarks.robustness                            # everything, as Markdown
    python -m benchmarks.robustness --parts kills --only fit   # some rows
    python -m benchmarks.robustness --save rows.json           # tries the rows that are missing there

The module of each part says what is tried, and when it held.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.robustness.disks import disks
from benchmarks.robustness.inputs import READS, inputs
from benchmarks.robustness.kills import kills
from benchmarks.robustness.models import models
from benchmarks.robustness.servers import servers
from benchmarks.robustness.workplace import COMMANDS, Row, Workplace, make_inputs, prepare_process, warm_up

PARTS: dict[str, tuple[Callable[[Workplace, str, int, random.Random], Row], list[str]]] = {
    "kills": (kills, list(COMMANDS)),
    "disks": (disks, list(COMMANDS)),
    "inputs": (inputs, list(READS)),
    "models": (models, ["score", "fit", "rollout"]),
    "servers": (servers, ["rollout"]),
}


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| | | tried | held |", "|---|---|---:|---:|"]
    lines += [f"| {row.part} | {row.what} | {row.tried} | {row.held} |" for row in rows]
    tried, held = (sum(getattr(row, name) for row in rows) for name in ("tried", "held"))
    return "\n".join([*lines, f"| all | | {tried} | {held} |"])


def main() -> None:
    """Tries everything, and prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="+", help="commands; by default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, help="of each row; by default 20, and 40 of inputs and models")
    parser.add_argument("--save", type=Path, help="JSON file of rows; those that are there are not tried again")
    settings = parser.parse_args()
    rows: list[Row] = []
    if settings.save is not None and settings.save.exists():
        rows = [Row(**row) for row in json.loads(settings.save.read_text(encoding="utf-8"))]
    prepare_process()
    with tempfile.TemporaryDirectory(prefix="erprm-robustness-") as folder:
        place = Workplace(Path(folder).resolve())
        place.wholes.mkdir()
        place.inputs.mkdir()
        make_inputs(place.inputs)
        warm_up(place, [name for name in COMMANDS if name in (settings.only or COMMANDS)])
        for part in settings.parts:
            work, names = PARTS[part]
            for name in names:
                if settings.only and name.split(",")[0] not in settings.only:
                    continue
                if any((row.part, row.what) == (part, name) for row in rows):
                    continue
                tries = settings.tries or (40 if part in ("inputs", "models") else 20)
                rows.append(work(place, name, tries, random.Random(f"{settings.seed} {part} {name}")))
                print(f"{part} {name}: {rows[-1].held} of {rows[-1].tried}", file=sys.stderr, flush=True)
                if settings.save is not None:
                    settings.save.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
