"""Rows of the table, tiny inputs, and a working folder in which commands run in forks of this process.

The inputs are real and tiny: models of some ten thousand weights, made here. This process imports everything once and
runs each command in a fork of itself, so that a kill costs less than a second. What `ablate` and `raft` start in
processes of their own runs in that fork, too; that such processes end with their parent is tested elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import tqdm

from erprm.ablation import runs as ablation_runs
from erprm.cli import main as erprm
from erprm.data.records import write_records
from erprm.raft import fine_tuning
from erprm.runs.atomic import remove
from tests.raft.sums import make_config, save_policy, write_problems
from tests.tiny import make_record
from tests.working_folder import make_working_folder

SECONDS = 120
"""The most that a command may take; these take one to ten on a machine with nothing else to do."""


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
    """The end of a command.

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


def last_line(ended: Ended) -> str:
    """The exit status of a command, and the last line it printed."""
    return f"status {ended.status}: {(ended.said.strip().splitlines() or ['nothing'])[-1][:300]}"


def no_plain_end(ended: Ended) -> str | None:
    """The fault in how a command refused something; None if there is none."""
    if ended.status < 0:
        return last_line(ended)
    if "Traceback (most recent call last)" in ended.said:
        return f"a traceback: {last_line(ended)}"
    lines = ended.said.strip().splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("erprm ")), None)
    if first is None:
        return f"no word of what is wrong: {last_line(ended)}"
    return f"{len(lines) - first} lines" if len(lines) - first > 5 else None


CPU = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
POOL = {"candidates": "pool.jsonl", "name": "p", "kind": "gsm8k"}
ON_LAST = {"save_last": True, "save_top_k": 0, "every_n_train_steps": 1}
SETS = ["--model=policy", "--source=jsonl", "--path=train.jsonl", "--device=cpu", "--grading=gsm8k", "--limit=12"]


def callbacks(**settings: dict[str, Any]) -> str:
    """The argument that gives the trainer these callbacks."""
    paths = {"ModelCheckpoint": "lightning.pytorch.callbacks.ModelCheckpoint"}
    given = [
        {"class_path": paths.get(name, f"erprm.callbacks.{name}"), "init_args": each} for name, each in settings.items()
    ]
    return f"--trainer.callbacks={json.dumps(given)}"


COMMANDS: dict[str, list[str]] = {
    "rollout": ["rollout", *SETS, "--output_dir=out", "--solutions_per_problem=2", "--completions_per_step=3",
                "--max_tokens=40", "--problems_per_shard=2"],
    "fit": ["fit", *CPU, "--model.backbone=my-llama", "--data.rollouts=rollouts.parquet", "--data.cache_dir=cache",
            "--data.validation_fraction=0.2", "--data.max_tokens=300", "--data.max_length=300",
            "--trainer.max_epochs=2", "--ckpt_path=last",
            "--trainer.logger.class_path=lightning.pytorch.loggers.CSVLogger",
            "--trainer.logger.init_args.save_dir=logs", "--trainer.logger.init_args.version=run",
            "--trainer.logger.init_args.flush_logs_every_n_steps=1", "--trainer.log_every_n_steps=1",
            callbacks(ModelCheckpoint=ON_LAST, BestOfN=POOL, ExportHF={"output": "out"})],
    "sft": ["sft", *CPU, "--model.backbone=my-llama", "--data.samples=samples.jsonl",
            "--data.max_tokens=40", "--data.max_length=40",
            "--trainer.max_epochs=2", "--trainer.logger=false", "--ckpt_path=last",
            callbacks(ModelCheckpoint=ON_LAST, ExportHF={"output": "out"})],
    "raft": ["raft", "--config=raft.json"],
    "ablate": ["ablate", "--fit=fit.yaml", "--pool=pool.jsonl", "--kind=gsm8k", "--output_dir=out", "--etas=0,inf",
               "--seeds=1", "--outcome=false"],
    "convert": ["convert", "many.parquet", "out.jsonl"],
    "merge": ["merge", "out", "part-0", "part-1"],
    "export": ["export", "--model.backbone=my-llama", "--ckpt_path=whole.ckpt", "--output=out"],
    "score": ["score", "--model=prm", "--jsonl", "solutions.jsonl", "out.jsonl", "--rows_at_once=8"],
    "predict": ["predict", *CPU, "--trainer.logger=false", "--model.backbone=prm",
                "--data.predict_solutions=solutions.jsonl", callbacks(StepScoreWriter={"output": "out.jsonl"})],
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
               callbacks(BestOfN=POOL)])  # fmt: skip
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

    def make_room(self, path: Path) -> None:
        """Makes room for another file in the place of an input, which is a link or in a linked folder."""
        top = self.work / path.relative_to(self.work).parts[0]
        if top.is_symlink():
            original = top.resolve()
            top.unlink()
            if original.is_dir():
                shutil.copytree(original, top)
        path.unlink(missing_ok=True)

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


def prepare_process() -> None:
    """Readies this process for its forks; what `ablate` and `raft` would start in processes runs in it, too."""
    logging.getLogger("lightning").setLevel(logging.WARNING)
    torch.set_num_threads(1)  # a forked process has no others
    tqdm.tqdm.monitor_interval = 0
    ablation_runs.run_command = fine_tuning.run_command = _run_here  # type: ignore[assignment]
    ablation_runs.output_of_command = _output_here


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


def warm_up(place: Workplace, names: Sequence[str]) -> None:
    """Runs commands in this process, so that its forks find everything imported."""
    for name in names:
        place.clean()
        with _in_folder(place.work):
            _must(COMMANDS[name])
