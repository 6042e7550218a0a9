"""Commands that are killed, run out of disk, or read what is damaged: how often it was tried, and how often it held.

    PYTHONPATH=. python benchmarks/robustness.py                            # everything, as Markdown
    PYTHONPATH=. python benchmarks/robustness.py --parts kills --only fit   # some rows
    PYTHONPATH=. python benchmarks/robustness.py --save rows.json           # tries the rows that are missing there

The inputs are real and tiny: models of some ten thousand weights, made here. This process imports everything once and
runs each command in a fork of itself, so that a kill costs less than a second. What `ablate` and `raft` start in
processes of their own runs in that fork, too; that such processes end with their parent is tested elsewhere.

- kills: SIGKILL, in turn at a random moment of the run and as a random file is about to be made durable or to get its
  name; up to three times in a row, then the command runs to its end. Held: the folder is that of a run without kills,
  file by file. Floats of scores may differ in the sixth place, logged lines may be there twice; times are not compared.
- disks: a disk of random size, too small for the run (a mount where that is allowed, else a limit on the size of
  files). Held: at most five lines that say so, and with room the same command gives the same folder.
- inputs, models, servers: files, model folders and answers damaged at random. Held: the command ends in time, with at
  most five lines and no traceback; with `skip`, every row is either used or rejected; or the damage did no harm. A
  server: the run ends with its URL, and the same command continues the run once the server is well.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import tqdm
import yaml
from safetensors.torch import load_file, save_file

from erprm.ablation import runs as ablation_runs
from erprm.cli import main as erprm
from erprm.data.records import write_records
from erprm.raft import fine_tuning
from tests.failing_server import NO_ANSWERS, failing_servers
from tests.raft.sums import make_config, save_policy, write_problems
from tests.tiny import make_record
from tests.working_folder import make_working_folder

PARTS = ("kills", "disks", "inputs", "models", "servers")
SECONDS = 120
"""What a command may take at most; these take one to ten on a machine with nothing else to do."""


@dataclass
class Row:
    """A line of the table."""

    part: str
    what: str
    tried: int = 0
    held: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def add(self, fault: str | None) -> None:
        """Counts a try."""
        self.tried += 1
        self.held += fault is None
        if fault is not None:
            self.faults.append(fault)
            print(f"{self.part} {self.what}: {fault}", file=sys.stderr, flush=True)


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; negative for the signal that ended it.
        said: what it printed.
        seconds: how long it took.
        writes: how many files it made durable or gave a name.
    """

    status: int
    said: str
    seconds: float
    writes: int = 0


CPU = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
POOL = {"candidates": "pool.jsonl", "name": "p", "kind": "gsm8k"}
ON_LAST = {"save_last": True, "save_top_k": 0, "every_n_train_steps": 1}
SETS = ["--model=policy", "--source=jsonl", "--path=train.jsonl", "--device=cpu", "--grading=gsm8k", "--limit=12"]


def _callbacks(**settings: dict[str, Any]) -> str:
    paths = {"ModelCheckpoint": "lightning.pytorch.callbacks.ModelCheckpoint"}
    callbacks = [
        {"class_path": paths.get(name, f"erprm.callbacks.{name}"), "init_args": each} for name, each in settings.items()
    ]
    return f"--trainer.callbacks={json.dumps(callbacks)}"


COMMANDS: dict[str, list[str]] = {
    "rollout": ["rollout", *SETS, "--output_dir=out", "--solutions_per_problem=2", "--completions_per_step=3",
                "--max_tokens=40", "--problems_per_shard=2"],
    "fit": ["fit", *CPU, "--model.backbone=my-llama", "--data.rollouts=rollouts.parquet", "--data.cache_dir=cache",
            "--data.validation_fraction=0.2", "--data.max_tokens=300", "--data.max_length=300",
            "--trainer.max_epochs=2", "--ckpt_path=last",
            "--trainer.logger.class_path=lightning.pytorch.loggers.CSVLogger",
            "--trainer.logger.init_args.save_dir=logs", "--trainer.logger.init_args.version=run",
            "--trainer.logger.init_args.flush_logs_every_n_steps=1", "--trainer.log_every_n_steps=1",
            _callbacks(ModelCheckpoint=ON_LAST, BestOfN=POOL, ExportHF={"output": "out"})],
    "sft": ["sft", *CPU, "--model.backbone=my-llama", "--data.samples=samples.jsonl",
            "--data.max_tokens=40", "--data.max_length=40",
            "--trainer.max_epochs=2", "--trainer.logger=false", "--ckpt_path=last",
            _callbacks(ModelCheckpoint=ON_LAST, ExportHF={"output": "out"})],
    "raft": ["raft", "--config=raft.json"],
    "ablate": ["ablate", "--fit=fit.yaml", "--pool=pool.jsonl", "--kind=gsm8k", "--output_dir=out", "--etas=0,inf",
               "--seeds=1", "--outcome=false"],
    "convert": ["convert", "many.parquet", "out.jsonl"],
    "merge": ["merge", "out", "part-0", "part-1"],
    "export": ["export", "--model.backbone=my-llama", "--ckpt_path=whole.ckpt", "--output=out"],
    "score": ["score", "--model=prm", "--jsonl", "solutions.jsonl", "out.jsonl", "--rows_at_once=8"],
    "predict": ["predict", *CPU, "--trainer.logger=false", "--model.backbone=prm",
                "--data.predict_solutions=solutions.jsonl", _callbacks(StepScoreWriter={"output": "out.jsonl"})],
    "report": ["report", "tested", "--out=out.html"],
    "search": ["search", "--config=search.json"],
    "demo": ["demo", "--quick", "--output_dir=out"],
}  # fmt: skip


def make_inputs(folder: Path) -> None:
    """Fills a folder with what the commands read."""
    make_working_folder(folder)
    save_policy(folder / "policy")
    write_problems(folder)
    rewards = [[[1.0, 0.0, 1.0, 1.0], [1.0]], [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0]]]
    write_records((make_record(i, rewards[i % 2]) for i in range(20_000)), folder / "many.parquet")
    _write_rows(folder / "rows.jsonl", [vars(make_record(i, rewards[i % 2])) for i in range(24)])
    _write_rows(folder / "samples.jsonl", [{"prompt": f"What is {i}?", "completion": f"{i}."} for i in range(24)])
    solution = "{0} + 4 = {1}.\nThe answer is: {1}"
    rows = [{"id": i, "question": f"What is {i} and 4?", "solution": solution.format(i, i + 4)} for i in range(64)]
    _write_rows(folder / "solutions.jsonl", rows)
    data = {"rollouts": "rollouts.parquet", "validation_fraction": 0.2, "max_tokens": 600, "cache_dir": "cache"}
    trainer: dict[str, Any] = {"accelerator": "cpu", "max_steps": 3, "logger": False, "enable_progress_bar": False}
    # Lightning keeps a checkpoint of another name that a training was resumed from.
    trainer["callbacks"] = [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": ON_LAST}]
    fit = {"trainer": trainer, "model": {"backbone": "my-llama"}, "data": data}
    (folder / "fit.yaml").write_text(json.dumps(fit), encoding="utf-8")
    search = {"model": "policy", "source": "jsonl", "path": "train.jsonl", "limit": 12, "device": "cpu"}
    search |= {"scorer": "prm", "output_dir": "out", "grading": "gsm8k"}
    search |= {"max_tokens": 40, "max_step_tokens": 20, "budgets": [80], "problems_per_part": 3}
    (folder / "search.json").write_text(json.dumps(search), encoding="utf-8")
    config = make_config(Path(), "out", rounds=1, prompts_per_round=6, problems_per_part=3, epochs=2)
    config.sft["trainer"]["callbacks"] = [
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": ON_LAST}
    ]
    config.sft["trainer"]["enable_checkpointing"] = True
    plain = {**vars(config), "problems": vars(config.problems), "held_out": vars(config.held_out)}
    for name in ("prompt", "vllm", "server"):
        plain.pop(name)
    (folder / "raft.json").write_text(json.dumps(plain), encoding="utf-8")
    with _in_folder(folder):
        _must(["fit", *CPU, "--model.backbone=my-llama", "--data.rollouts=rollouts.parquet", "--data.cache_dir=cache",
               "--trainer.max_steps=1", "--trainer.logger=false", "--trainer.default_root_dir=trained"])  # fmt: skip
        next(Path("trained").rglob("*.ckpt")).rename("whole.ckpt")
        _must(["test", *CPU, "--trainer.logger=false", "--model.backbone=prm", "--trainer.default_root_dir=tested",
               _callbacks(BestOfN=POOL)])  # fmt: skip
        for part in range(2):
            changed = [f"--shard={part}/2", f"--output_dir=part-{part}", "--problems_per_shard=3"]
            _must([*COMMANDS["rollout"], *changed])
    shutil.rmtree(folder / "cache")


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _must(arguments: Sequence[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = erprm(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    if status:
        raise RuntimeError(f"erprm {arguments[0]} ended with status {status}: {said.getvalue()[-2000:]}")


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Workplace:
    """A working folder, always of the same name, in which the inputs are links."""

    def __init__(self, folder: Path) -> None:
        self.inputs, self.work, self.wholes = folder / "inputs", folder / "work", folder / "wholes"
        self._said = folder / "said"
        self._writes = folder / "writes"

    def clean(self) -> None:
        """Empties the folder but for the links."""
        if self.work.exists():
            for path in self.work.iterdir():
                remove(path)
        self.work.mkdir(exist_ok=True)
        for path in self.inputs.iterdir():
            (self.work / path.name).symlink_to(path)

    def start(self, arguments: Sequence[str], at_write: int | None = None, limit: int | None = None) -> int:
        """The process id of a command; it kills itself at a write, or has a limit on the size of files."""
        self._writes.unlink(missing_ok=True)
        child = os.fork()
        if child:
            return child
        status: Any = 70
        try:
            os.setpgid(0, 0)
            output = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(self.work)
            counted = _count_writes(at_write)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                status = erprm(arguments)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if limit is None:
                self._writes.write_text(str(counted[0]), encoding="utf-8")
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def end(self, child: int, seconds: float = SECONDS) -> Ended:
        """Waits for a command; one that takes too long is killed."""
        started = time.perf_counter()
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            took = time.perf_counter() - started
            if pid:
                break
            if took > seconds:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Ended(-signal.SIGKILL, f"not ended after {seconds:.0f} s", took)
            time.sleep(0.005)
        said = self._said.read_text(encoding="utf-8", errors="replace")
        writes = int(self._writes.read_text(encoding="utf-8")) if self._writes.exists() else 0
        return Ended(os.waitstatus_to_exitcode(status), said, took, writes)

    def run(self, arguments: Sequence[str], **settings: Any) -> Ended:
        """Runs a command to its end."""
        return self.end(self.start(arguments, **settings))

    def whole(self, name: str) -> tuple[Path, Ended]:
        """The folder of a run of a command that nothing disturbed."""
        folder = self.wholes / name
        self.clean()
        ended = self.run(COMMANDS[name])
        if ended.status:
            raise RuntimeError(f"erprm {name} ended with status {ended.status}: {ended.said[-2000:]}")
        remove(folder)
        shutil.copytree(self.work, folder, symlinks=True)
        return folder, ended


def remove(path: Path) -> None:
    """Removes a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _count_writes(at_write: int | None) -> list[int]:
    """Counts how often a file is made durable or gets its name; kills this process at such a moment."""
    count = [0]

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **settings: Any) -> Any:
            count[0] += 1
            if count[0] == at_write:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **settings)

        return counted

    for name in ("fsync", "replace", "rename"):
        setattr(os, name, counting(getattr(os, name)))
    return count


# ------------------------------------------------------------------------------------------------------------ equality

# Files and keys in which times or the moments of a run stand, or what it was resumed from; that they are there is
# compared. A hash is over these.
OF_ITS_TIME = {"sft.log", "fit.log", "test.log", "training.json", "scoring.json", "ablation.md", "export.json"}
KEYS_OF_ITS_TIME = {"hash", "seconds", "cpu_seconds", "peak_bytes", "costs", "cost", "ckpt_path"}


def difference(one: Path, other: Path) -> str | None:
    """What differs between two folders, if anything does."""
    files = [
        {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            # Other commands may be filling a cache, so what a killed one left there stays for an hour.
            if path.is_file() and not path.is_symlink() and path.relative_to(folder).parts[0] != "cache"
        }
        for folder in (one, other)
    ]
    if files[0] != files[1]:
        return f"missing: {sorted(files[0] - files[1])[:3]}, left over: {sorted(files[1] - files[0])[:3]}"
    unlike = [name for name in sorted(files[0]) if not _same_file(one / name, other / name)]
    if not unlike:
        return None
    return f"other content: {unlike[:3]}"


def _same_file(one: Path, other: Path) -> bool:
    if one.read_bytes() == other.read_bytes() or one.name in OF_ITS_TIME or one.suffix == ".png":
        return True
    read = {".json": _json, ".jsonl": _json_lines, ".yaml": _yaml, ".parquet": _table, ".ckpt": _checkpoint,
            ".csv": _lines}  # fmt: skip
    return one.suffix in read and close(*(read[one.suffix](path) for path in (one, other)))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> Any:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _table(path: Path) -> Any:
    return pq.read_table(path).to_pylist()


def _checkpoint(path: Path) -> Any:
    saved = torch.load(path, weights_only=True)
    return {name: saved[name] for name in ("state_dict", "optimizer_states", "global_step")}


def _lines(path: Path) -> Any:
    return sorted(set(path.read_text(encoding="utf-8").splitlines()))


def close(one: Any, other: Any) -> bool:
    """Equal, but for rounding in the sixth place, and for times."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            key in KEYS_OF_ITS_TIME or close(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6) or one is other
    return bool(one == other)


# --------------------------------------------------------------------------------------------------------------- kills


def kills(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Kills a command so many times."""
    whole, ended = place.whole(name)
    row = Row("kills", name, seconds=ended.seconds)
    seconds = ended.seconds
    while row.tried < count:
        place.clean()
        where: list[str] = []
        for _ in range(min(rng.choice((1, 1, 2, 3)), count - row.tried)):
            # One in each part of the run, so that early and late ones are among them.
            share = (row.tried + len(where) + rng.random()) / count
            at_write = None if (row.tried + len(where)) % 2 else 1 + int(share * ended.writes)
            child = place.start(COMMANDS[name], at_write=at_write)
            if at_write is None:
                time.sleep(share * seconds)
                os.kill(child, signal.SIGKILL)
            if place.end(child).status != -signal.SIGKILL:
                if not where:  # The whole run was slower, as the machine had more to do.
                    seconds *= 0.8
                break  # It had ended by then: what was left of a resumed run is short.
            where.append(f"after {share * seconds:.2f} s" if at_write is None else f"at write {at_write}")
        finished = place.run(COMMANDS[name])
        fault = _last_line(finished) if finished.status else difference(whole, place.work)
        for each in where:
            row.add(fault and f"killed {each} (of {', '.join(where)}): {fault}")
    return row


def _last_line(ended: Ended) -> str:
    return f"status {ended.status}: {(ended.said.strip().splitlines() or ['nothing'])[-1][:300]}"


# --------------------------------------------------------------------------------------------------------------- disks


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
            fault = _no_plain_end(full)
            if fault is None and not any(text in full.said for text in ("No space left", "no space left", "too large")):
                fault = f"does not say that the disk is full: {_last_line(full)}"
            finished = place.run(COMMANDS[name])
            if finished.status:
                fault = f"with room again: {_last_line(finished)}"
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


def _no_plain_end(ended: Ended) -> str | None:
    """What is wrong with how a command refused something, if anything is."""
    if ended.status < 0:
        return _last_line(ended)
    if "Traceback (most recent call last)" in ended.said:
        return f"a traceback: {_last_line(ended)}"
    lines = ended.said.strip().splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("erprm ")), None)
    if first is None:
        return f"no word of what is wrong: {_last_line(ended)}"
    return f"{len(lines) - first} lines" if len(lines) - first > 5 else None


# -------------------------------------------------------------------------------------------------------------- inputs

Damage = Callable[[bytes, random.Random], bytes]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _flipped(content: bytes, rng: random.Random) -> bytes:
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
OF_BYTES: dict[str, Damage] = {"cut": _cut, "bits flipped": _flipped, "bytes between": _bytes_in}

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
    "test, pool": (["test", *CPU, "--trainer.logger=false", "--model.backbone=prm", _callbacks(BestOfN=POOL)],
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
        _own(place.work / file, place)
        damaged, how = _damaged(file, content, number, rng)
        (place.work / file).write_bytes(damaged)
        ended = place.run(arguments)
        fault = _no_plain_end(ended) if ended.status else None
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


def _own(path: Path, place: Workplace) -> None:
    """Puts a file of its own in the place of a link to one of the inputs, or to a folder of them."""
    top = place.work / path.relative_to(place.work).parts[0]
    if top.is_symlink():
        original = top.resolve()
        top.unlink()
        if original.is_dir():
            shutil.copytree(original, top)
    path.unlink(missing_ok=True)


def _lost(work: Path, damaged: bytes) -> str | None:
    """Rows that are neither used nor rejected."""
    (out,) = (path for path in (work / "out.parquet", work / "out.jsonl") if path.exists())
    rejected = work / f"{out.name}.rejected.jsonl"
    used = pq.read_metadata(out).num_rows if out.suffix == ".parquet" else len(out.read_bytes().splitlines())
    refused = len(rejected.read_bytes().splitlines()) if rejected.exists() else 0
    there = sum(bool(line.strip()) for line in damaged.split(b"\n"))
    return None if used + refused == there else f"{there} rows there, {used} used, {refused} rejected"


# -------------------------------------------------------------------------------------------------------------- models


def models(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Has a model read whose folder is damaged in one file."""
    row = Row("models", name)
    folder = {"score": "prm", "fit": "my-llama", "rollout": "policy"}[name]
    arguments = [*COMMANDS[name], *(["--trainer.max_steps=1"] if name == "fit" else [])]
    files = sorted(path.name for path in (place.inputs / folder).iterdir() if path.is_file())
    for number in range(count):
        place.clean()
        file = place.work / folder / files[number % len(files)]
        _own(file, place)
        how = _damage_model_file(place.inputs / folder / file.name, file, number // len(files), rng)
        ended = place.run(arguments)
        fault = _no_plain_end(ended) if ended.status else None
        row.seconds = max(row.seconds, ended.seconds)
        row.add(fault and f"{file.name}, {how}: {fault}")
    return row


def _damage_model_file(whole: Path, file: Path, number: int, rng: random.Random) -> str:
    """Writes a damaged file in the place of one; returns how."""
    content = whole.read_bytes()
    how = rng.choice(("missing", "a folder", "other", "other", "bytes", "inside", "inside", "inside"))
    if how == "a folder":
        file.mkdir()
    elif how == "other":
        how = rng.choice(sorted(OTHERS))
        file.write_bytes(OTHERS[how])
    elif how == "bytes":
        how = rng.choice(sorted(OF_BYTES))
        file.write_bytes(OF_BYTES[how](content, rng))
    elif how == "inside" and file.suffix == ".json":
        read = json.loads(content)
        how = _change_inside(read, rng)
        file.write_text(json.dumps(read), encoding="utf-8")
    elif how == "inside" and file.suffix == ".safetensors":
        weights = load_file(whole)
        name = rng.choice(sorted(weights))
        how = f"{name} " + rng.choice(("missing", "NaN", "of another shape", "of whole numbers", "in the header"))
        if how.endswith("header"):
            size = int.from_bytes(content[:8], "little")
            file.write_bytes(content[:8] + _flipped(content[8 : 8 + size], rng) + content[8 + size :])
        else:
            weight = weights.pop(name)
            changed = {"NaN": weight * math.nan, "shape": weight[..., :-1].contiguous(), "numbers": weight.int()}
            weights |= {name: changed[how.split()[-1]]} if how.split()[-1] in changed else {}
            save_file(weights, file, metadata={"format": "pt"})
    elif how != "missing":
        file.write_bytes(_cut(content, rng))
    return how


def _change_inside(read: Any, rng: random.Random) -> str:
    """Changes a value somewhere in what was read of a JSON file; returns which, and to what."""
    path = []
    while isinstance(read, dict | list) and read:
        key: Any = rng.choice(sorted(read)) if isinstance(read, dict) else rng.randrange(len(read))
        path.append(str(key))
        below = read[key]
        if not (isinstance(below, dict | list) and below and rng.random() < 0.8):
            value = rng.choice((None, True, -1, 0, 10**12, 0.5, "", "no such", [], {}, ["x"], {"x": 1}))
            read[key] = value
            return f"{'.'.join(path)[-60:]}: {value!r}"
        read = below
    return "unchanged"


# ------------------------------------------------------------------------------------------------------------- servers


def servers(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Has a server answer badly from a random request on, and well again when the command is run again."""
    row = Row("servers", name)
    bodies = {kind: body for kind, (body, _) in NO_ANSWERS.items()}
    with failing_servers() as start:
        state: dict[str, Any] = {"body": None, "from": 0, "answered": 0}

        def answer(request: dict[str, Any]) -> tuple[int, Any]:
            state["answered"] += 1
            if state["body"] is not None and state["answered"] > state["from"]:
                return 200, state["body"]()
            choices = [
                {"index": n, "text": " then 1 + 1 = 2 #### 2", "finish_reason": "stop", "token_ids": [4, 5, 6]}
                for n in range(int(request.get("n", 1)) * _prompts(request))
            ]
            usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
            return 200, {"id": "x", "object": "text_completion", "model": "policy", "choices": choices, "usage": usage}

        server = start(answer, max_model_len=512)
        local = [argument for argument in COMMANDS["rollout"] if argument != "--device=cpu"]
        arguments = [*local, "--engine=openai", "--model=policy", f"--server.base_url={server.base_url}",
                     "--server.tokenizer=policy", "--server.timeout_s=1", "--server.retries=1"]  # fmt: skip
        place.clean()
        good = place.run(arguments)
        if good.status:
            raise RuntimeError(f"the server that is well is refused: {_last_line(good)}")
        whole = place.wholes / "served"
        remove(whole)
        shutil.copytree(place.work, whole, symlinks=True)
        requests = state["answered"]
        for number in range(count):
            kind = list(bodies)[number % len(bodies)]
            state.update({"body": bodies[kind], "from": rng.randrange(requests), "answered": 0})
            place.clean()
            bad = place.run(arguments)
            row.seconds = max(row.seconds, bad.seconds)
            state["body"] = None
            fault = _no_plain_end(bad) if bad.status else "taken for an answer"
            if not fault and server.url not in bad.said:
                fault = f"does not name the server: {_last_line(bad)}"
            if not fault and "\x1b" in bad.said:
                fault = "an escape byte of the server in the terminal"
            again = place.run(arguments)
            fault = fault or (_last_line(again) if again.status else difference(whole, place.work))
            row.add(fault and f"{kind} after {state['from']} answers: {fault}")
    return row


def _prompts(request: dict[str, Any]) -> int:
    prompt = request.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], list | str) else 1


# --------------------------------------------------------------------------------------------------------------- table

WORK: dict[str, tuple[Callable[[Workplace, str, int, random.Random], Row], list[str]]] = {
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


def _warm_up(place: Workplace, names: Sequence[str]) -> None:
    """Runs commands in this process, so that its forks find everything imported."""
    for name in names:
        place.clean()
        with _in_folder(place.work):
            _must(COMMANDS[name])


def _run_here(arguments: Sequence[str], log_file: Path, *_: Any, **__: Any) -> int:
    with log_file.open("a", encoding="utf-8") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        return erprm(arguments)


def _output_here(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    out, err, status = io.StringIO(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = erprm(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    return subprocess.CompletedProcess(list(arguments), status, out.getvalue(), err.getvalue())


def main() -> None:
    """Tries everything, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--only", nargs="+", help="commands; by default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, help="of each row; by default 20, and 40 of inputs and models")
    parser.add_argument("--save", type=Path, help="JSON file of rows; those that are there are not tried again")
    settings = parser.parse_args()
    rows: list[Row] = []
    if settings.save is not None and settings.save.exists():
        rows = [Row(**row) for row in json.loads(settings.save.read_text(encoding="utf-8"))]
    logging.getLogger("lightning").setLevel(logging.WARNING)
    torch.set_num_threads(1)  # a forked process has no others
    tqdm.tqdm.monitor_interval = 0
    ablation_runs.run_command = fine_tuning.run_command = _run_here  # type: ignore[assignment]
    ablation_runs.output_of_command = _output_here
    with tempfile.TemporaryDirectory(prefix="erprm-robustness-") as folder:
        place = Workplace(Path(folder).resolve())
        place.wholes.mkdir()
        place.inputs.mkdir()
        make_inputs(place.inputs)
        _warm_up(place, [name for name in COMMANDS if name in (settings.only or COMMANDS)])
        for part in settings.parts:
            work, names = WORK[part]
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
