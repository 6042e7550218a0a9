"""Files that a command reads, damaged at random: as a whole, in their bytes, or in their rows.

Held: the command ends in time, with at most five lines and no traceback; with `skip`, every row is either used or
rejected; or the damage did no harm.
"""

from __future__ import annotations

import io
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.robustness.workplace import COMMANDS, CPU, POOL, Row, Workplace, callbacks, no_plain_end

Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, rng: random.Random) -> bytes:
    """Content up to a random byte."""
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Content in which up to eight bits are flipped."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _bytes_in(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return (
        content[:place] + rng.choice((b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b]0;x\x07", b"\r")) + content[place:]
    )


# A whole file in another's place.
OTHERS: dict[str, bytes] = {
    "empty": b"",
    "blanks": b" \n" * 1000,
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n",
    "HTML": b"<!DOCTYPE html><html><body><h1>404</h1></body></html>\n",
    "null": b"null\n",
    "a list": b"[]\n",
    "nested without end": b"[" * 200_000,
    "noise": random.Random(0).randbytes(4096),
    "gzip": b"\x1f\x8b\x08" + bytes(64),
}
OF_BYTES: dict[str, Damage] = {"cut": cut, "bits flipped": flipped, "bytes between": _bytes_in}

# What a value may be replaced by in a row: as JSON, since some of it is no value of Python's.
VALUES = ["null", "true", "[]", "{}", "7", "-1", "NaN", "1e999", "-Infinity", "1" * 5000, '""', '" "', '"\\ud83d"',
          '"\\u0000"', '"\\u001b[31mred"', '["a", null]', "[[[[[]]]]]", "[[2.0]]", "[[NaN]]", '"' + "x" * 100_000 + '"',
          "[" * 5000 + "]" * 5000, '{"a": {"b": "\\udc00"}}']  # fmt: skip


def damaged_rows(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """JSON lines of which one is damaged, and how."""
    lines = content.decode().splitlines()
    number = rng.randrange(len(lines))
    row = json.loads(lines[number])
    key = rng.choice(sorted(row))
    kind = rng.choice(("value", "value", "value", "value", "missing", "twice", "cut", "not an object"))
    values = {name: json.dumps(value) for name, value in row.items()}
    if kind == "value":
        values[key] = rng.choice(VALUES)
    elif kind == "missing":
        del values[key]
    written = "{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}"
    if kind == "twice":
        written = written[:-1] + f', "{key}": null}}'
    elif kind == "cut":
        written = written[: rng.randrange(1, len(written))]
    elif kind == "not an object":
        written = rng.choice(VALUES)
    lines[number] = written
    return ("\n".join(lines) + "\n").encode(), f"line {number + 1}, {key}: {kind} {values.get(key, '')[:30]}"


def damaged_table(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A Parquet file of which a column is missing, of another type, or holds nulls or bytes that are no text."""
    table = pq.read_table(pa.BufferReader(content))
    number = rng.randrange(table.num_columns)
    name = table.column_names[number]
    kind = rng.choice(("missing", "null", "numbers", "no text", "other lists"))
    if kind == "missing":
        table = table.drop_columns([name])
    else:
        size = table.num_rows
        values = {
            "null": pa.nulls(size),
            "numbers": pa.array([math.nan, *range(size - 1)], pa.float64()),
            "no text": pa.StringArray.from_buffers(
                size, pa.array(range(size + 1), pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * size)
            ),
            "other lists": pa.array([[["x"], None]] * size),
        }
        table = table.set_column(number, name, values[kind])
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue(), f"{name}: {kind}"


# What is read: command, the file, and whether rows that cannot be used are skipped.
READS: dict[str, tuple[list[str], str]] = {
    "convert, JSON lines": (["convert", "rows.jsonl", "out.parquet"], "rows.jsonl"),
    "convert, skip": (["convert", "rows.jsonl", "out.parquet", "--on_error=skip"], "rows.jsonl"),
    "convert, Parquet": (["convert", "rollouts.parquet", "out.jsonl"], "rollouts.parquet"),
    "score": (["score", "--model=prm", "--jsonl", "solutions.jsonl", "out.jsonl"], "solutions.jsonl"),
    "score, skip": ([*COMMANDS["score"], "--on_error=skip"], "solutions.jsonl"),
    "predict": (COMMANDS["predict"], "solutions.jsonl"),
    "rollout, problems": (COMMANDS["rollout"], "train.jsonl"),
    "fit, rollouts": ([*COMMANDS["fit"], "--trainer.max_steps=1"], "rollouts.parquet"),
    "sft, samples": ([*COMMANDS["sft"], "--trainer.max_steps=1"], "samples.jsonl"),
    "test, pool": (["test", *CPU, "--trainer.logger=false", "--model.backbone=prm", callbacks(BestOfN=POOL)],
                   "pool.jsonl"),
    "data stats": (["data", "stats", "rollouts.parquet"], "rollouts.parquet"),
    "report": (COMMANDS["report"], "tested/best_of_n/p/results.json"),
    "fit, configuration": (["fit", "--config=fit.yaml", "--trainer.max_steps=1"], "fit.yaml"),
    "raft, configuration": (["raft", "--config=raft.json"], "raft.json"),
    "export, checkpoint": (COMMANDS["export"], "whole.ckpt"),
}  # fmt: skip


def inputs(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Has a command read a file that is damaged."""
    arguments, file = READS[name]
    row = Row("inputs", name)
    content = (place.inputs / file).read_bytes()
    for number in range(count):
        place.clean()
        place.make_room(place.work / file)
        damaged, how = _damaged(file, content, number, rng)
        (place.work / file).write_bytes(damaged)
        ended = place.run(arguments)
        fault = no_plain_end(ended) if ended.status else None
        if not fault and not ended.status and arguments[-1] == "--on_error=skip":
            fault = _lost(place.work, damaged)
        row.seconds = max(row.seconds, ended.seconds)
        row.add(fault and f"{how}: {fault}")
    return row


def _damaged(file: str, content: bytes, number: int, rng: random.Random) -> tuple[bytes, str]:
    """Content, damaged: a third each as a whole, in its bytes, and in its rows if it has any."""
    kind = number % 3
    if kind == 0:
        name = list(OTHERS)[(number // 3) % len(OTHERS)]
        return OTHERS[name], name
    if kind == 1 and file.endswith(".jsonl"):
        return damaged_rows(content, rng)
    if kind == 1 and file.endswith(".parquet"):
        return damaged_table(content, rng)
    name = rng.choice(sorted(OF_BYTES))
    return OF_BYTES[name](content, rng), name


def _lost(work: Path, damaged: bytes) -> str | None:
    """Rows that are neither used nor rejected."""
    (out,) = (path for path in (work / "out.parquet", work / "out.jsonl") if path.exists())
    rejected = work / f"{out.name}.rejected.jsonl"
    used = pq.read_metadata(out).num_rows if out.suffix == ".parquet" else len(out.read_bytes().splitlines())
    refused = len(rejected.read_bytes().splitlines()) if rejected.exists() else 0
    there = sum(bool(line.strip()) for line in damaged.split(b"\n"))
    return None if used + refused == there else f"{there} rows there, {used} used, {refused} rejected"
