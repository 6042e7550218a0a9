"""Commands that are killed at any moment: how often it was tried, and how often it held.

    PYTHONPATH=. python benchmarks/robustness.py                            # everything, as Markdown
    PYTHONPATH=. python benchmarks/robustness.py --parts kills --only fit   # some rows
    PYTHONPATH=. python benchmarks/robustness.py --save rows.json           # tries the rows that are missing there

The inputs are real and tiny: models of some ten thousand weights, made here. This process imports everything once and
runs each command in a fork of itself, so that a kill costs less than a second. What `ablate` and `raft` start in
processes of their own runs in that fork, too; that such processes end with their parent is tested elsewhere.

- kills: SIGKILL, in turn at a random moment of the run and as a random file is about to be made durable or to get its
  name; up to three times in a row, then the command runs to its end. Held: the folder is that of a run without kills,
  file by file. Floats of scores may differ in the sixth place, logged lines may be there twice; times are not compared.
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

import pyarrow.parquet as pq
import torch
import tqdm

from erprm.ablation import runs as ablation_runs
from erprm.cli import main as erprm
from erprm.data.records import write_records
from erprm.raft import fine_tuning
from tests.raft.sums import make_config, save_policy, write_problems
from tests.tiny import make_record
from tests.working_folder import make_working_folder

PARTS = ("kills",)
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
    trainer = {"accelerator": "cpu", "max_steps": 3, "logger": False, "enable_progress_bar": False}
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

    def start(self, arguments: Sequence[str], at_write: int | None = None) -> int:
        """The process id of a command, which kills itself at a write if told to."""
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
            try:
                status = erprm(arguments)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
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

# Files and keys in which times or the moments of a run stand; that they are there is compared. A hash is over these.
OF_ITS_TIME = {"sft.log", "fit.log", "test.log", "training.json", "scoring.json", "ablation.md", "export.json"}
KEYS_OF_ITS_TIME = {"hash", "seconds", "cpu_seconds", "peak_bytes", "costs", "cost"}


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
    read = {".json": _json, ".jsonl": _json_lines, ".parquet": _table, ".ckpt": _checkpoint, ".csv": _lines}
    return one.suffix in read and close(*(read[one.suffix](path) for path in (one, other)))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> Any:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
    while row.tried < count:
        place.clean()
        where: list[str] = []
        for _ in range(min(rng.choice((1, 1, 2, 3)), count - row.tried)):
            # One in each part of the run, so that early and late ones are among them.
            share = (row.tried + len(where) + rng.random()) / count
            at_write = None if (row.tried + len(where)) % 2 else 1 + int(share * ended.writes)
            child = place.start(COMMANDS[name], at_write=at_write)
            if at_write is None:
                time.sleep(share * ended.seconds)
                os.kill(child, signal.SIGKILL)
            if place.end(child).status != -signal.SIGKILL:
                break  # It had ended by then: what was left of a resumed run is short.
            where.append(f"after {share * ended.seconds:.2f} s" if at_write is None else f"at write {at_write}")
        finished = place.run(COMMANDS[name])
        fault = _last_line(finished) if finished.status else difference(whole, place.work)
        for each in where:
            row.add(fault and f"killed {each} (of {', '.join(where)}): {fault}")
    return row


def _last_line(ended: Ended) -> str:
    return f"status {ended.status}: {(ended.said.strip().splitlines() or ['nothing'])[-1][:300]}"


# --------------------------------------------------------------------------------------------------------------- table

WORK: dict[str, tuple[Callable[[Workplace, str, int, random.Random], Row], list[str]]] = {
    "kills": (kills, list(COMMANDS)),
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
    parser.add_argument("--tries", type=int, default=20, help="of each row")
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
        _warm_up(place, [name for name in COMMANDS if settings.only is None or name in settings.only])
        for part in settings.parts:
            work, names = WORK[part]
            for name in names:
                if settings.only and name.split(",")[0] not in settings.only:
                    continue
                if any((row.part, row.what) == (part, name) for row in rows):
                    continue
                rows.append(work(place, name, settings.tries, random.Random(f"{settings.seed} {part} {name}")))
                print(f"{part} {name}: {rows[-1].held} of {rows[-1].tried}", file=sys.stderr, flush=True)
                if settings.save is not None:
                    settings.save.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
