"""Rows a second and peak memory of reading, converting and describing step-labelled data, at several sizes.

    python benchmarks/convert.py --sizes 10000 100000 1000000

Made-up rows of the length of Math-Shepherd's are written once a size into a temporary folder (about 5 GB at a million
rows). Each task then runs in a process of its own, whose peak resident memory is that of the imports (the first line
of the table) and of the task.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from erprm.data.files.json_rows import json_rows
from erprm.data.files.row_files import write_rows
from erprm.data.formats import RecordImport
from erprm.data.formats.conversion import convert
from erprm.data.records import read_records
from erprm.data.statistics import DataStatistics


def solutions(count: int) -> Iterator[tuple[str, list[str], list[float]]]:
    """Questions, steps and labels; no two solutions are the same, and four in a row are to one problem."""
    rng = random.Random(0)
    for number in range(count):
        a, b, c = number // 4, rng.randint(2, 99), rng.randint(2, 99)
        question = f"A shop has {a} boxes of {b} pens and sells {c} pens a day at a price of $2 each. " * 2
        steps = [
            f"Step {step}: There are {a} x {b} = <<{a}*{b}={a * b}>>{a * b} pens, which last {a * b} / {c} days."
            for step in range(1, rng.randint(3, 8))
        ]
        yield question, steps, [rng.randint(0, 1000) / 1000 for _ in steps]


def official_rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of the official training data."""
    for question, steps, labels in solutions(count):
        yield {"text": f"{question} " + " ки\n".join(steps) + " ки", "value": labels}


def math_shepherd_rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of Math-Shepherd."""
    for question, steps, labels in solutions(count):
        marks = [f"{step} {'+' if label > 0.5 else '-'}" for step, label in zip(steps, labels, strict=True)]
        text = f"{question} " + " ки\n".join(steps) + " ки"
        yield {"input": text, "label": f"{question} " + "\n".join(marks), "task": "GSM8K"}


def convert_to(source: str, output: str) -> Callable[[Path], None]:
    """A conversion between two files of the folder."""
    return lambda folder: void(convert(folder / source, folder / output))


def void(_: object) -> None:
    """Drops a result."""


def exhaust(items: Iterator[Any]) -> None:
    """Reads to the end."""
    for _ in items:
        pass


def describe(folder: Path) -> None:
    """Computes the statistics of ``erprm data stats``."""
    DataStatistics("records", [-4.0, 0.0, 4.0, float("inf")]).add(RecordImport(folder / "a.parquet"))


# In this order: a task may read what one before it wrote.
TASKS: dict[str, Callable[[Path], None]] = {
    "imports alone": void,
    "read a JSON array": lambda folder: exhaust(json_rows(folder / "official.json")),
    "official .json -> records .parquet": convert_to("official.json", "a.parquet"),
    "Math-Shepherd .jsonl.zst -> records .parquet": convert_to("shepherd.jsonl.zst", "b.parquet"),
    "records .parquet -> TRL .jsonl": convert_to("a.parquet", "trl.jsonl"),
    "TRL .jsonl -> records .parquet": convert_to("trl.jsonl", "c.parquet"),
    "records .parquet -> official .json.gz": convert_to("a.parquet", "back.json.gz"),
    "read_records": lambda folder: exhaust(read_records(folder / "a.parquet")),
    "data stats, 4 etas": describe,
}


def run(task: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak MB of a task in this process."""
    started = time.perf_counter()
    TASKS[task](folder)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    sizes = parser.parse_args().sizes
    print("| task | " + " | ".join(f"{size:,} rows: rows/s | peak MB" for size in sizes) + " |")
    print("|---|" + "---:|" * 2 * len(sizes))
    cells: dict[str, list[str]] = {task: [] for task in TASKS}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_rows(official_rows(size), folder / "official.json", pa.schema([]))
            write_rows(math_shepherd_rows(size), folder / "shepherd.jsonl.zst", pa.schema([]))
            for task in TASKS:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    seconds, megabytes = pool.submit(run, task, folder).result()
                speed = "" if task == "imports alone" else f"{size / seconds:,.0f}"
                cells[task] += [speed, f"{megabytes:,.0f}"]
    for task, columns in cells.items():
        print(f"| {task} | " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
