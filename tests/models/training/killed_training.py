"""Trains a tiny model without interruption, and again and again with interruptions, each resumed.

Usage: python -m tests.models.training.killed_training FOLDER KILLS SCENARIO...

FOLDER/<scenario>/whole is the uninterrupted run. In FOLDER/<scenario>/killed the process gets a signal KILLS times, at
a random batch: SIGKILL in the middle of the batch, or when a checkpoint has been written but not yet renamed; or
SIGINT, SIGTERM or SIGUSR1, after which it saves by itself. Each time it is resumed from the newest checkpoint there is.
Each run appends to ``losses.jsonl`` the loss of every batch it trains on and the metrics of every validation, and ends
by writing ``weights.txt``, a hash of all weights.
"""

import hashlib
import json
import os
import random
import signal
import sys
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.distributed.tensor import DTensor

from erprm.callbacks import SaveOnSignal
from erprm.data import ProcessRewardDataModule
from erprm.data.policy import PolicyDataModule
from erprm.data.records import write_records
from erprm.models import PolicyModel, ProcessRewardModel, WholeCheckpointIO
from tests.tiny import make_llama, make_record, make_tokenizer


@dataclass
class Scenario:
    """What is trained, and when checkpoints are saved."""

    trainer: dict[str, Any]
    checkpoint: dict[str, Any]
    policy: bool = False
    sharded: bool = False
    ends: tuple[str, ...] = ("middle", "save")


SCENARIOS = {
    # Validation at the end of each of three epochs.
    "epochs": Scenario({"max_epochs": 3}, {"every_n_train_steps": 1, "save_top_k": -1}),
    # A checkpoint after every batch, mostly between two optimizer steps; validation twice an epoch, and there too.
    "accumulated": Scenario(
        {"max_epochs": 3, "accumulate_grad_batches": 3, "val_check_interval": 5},
        {"train_time_interval": timedelta(0), "save_top_k": -1},
    ),
    # Ended by a number of steps, which makes Lightning count restarts another way.
    "steps": Scenario({"max_steps": 22, "max_epochs": -1}, {"every_n_train_steps": 2, "save_top_k": -1}),
    # Saved only at the end of an epoch, after its validation.
    "epoch ends": Scenario({"max_epochs": 4}, {"monitor": "val/loss", "save_top_k": -1}),
    # Saved by nothing but signals, mostly between two optimizer steps or during a validation.
    "signals": Scenario(
        {"max_epochs": 4, "accumulate_grad_batches": 2, "val_check_interval": 3},
        {"save_top_k": 0},
        ends=("SIGINT", "SIGTERM", "SIGUSR1"),
    ),
    # Checkpoints are folders, and one of them is overwritten again and again.
    "folders": Scenario(
        {"max_epochs": 4}, {"every_n_train_steps": 1, "save_top_k": 0, "save_last": True}, sharded=True
    ),
    "policy": Scenario({"max_epochs": 5, "limit_train_batches": 6}, {"every_n_train_steps": 1, "save_top_k": -1}, True),
}


class Journal(L.Callback):
    """Writes down every loss, and kills the process at a given batch."""

    def __init__(self, folder: Path, kill_at: tuple[int, str] | None) -> None:
        self.file = (folder / "losses.jsonl").open("a", encoding="utf-8")
        self.kill_at = kill_at

    def write(self, **row: Any) -> None:
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def die_at(self, batch: int, place: str) -> None:
        if self.kill_at is not None and batch >= self.kill_at[0] and place == self.kill_at[1]:
            self.kill_at = None
            if place.startswith("SIG"):
                os.killpg(0, signal.Signals[place])  # data-loading processes, too, as a terminal and SLURM do it
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    def on_before_backward(self, trainer: L.Trainer, module: L.LightningModule, loss: torch.Tensor) -> None:
        batch = trainer.fit_loop.total_batch_idx
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        logged_at = trainer.fit_loop.epoch_loop._batches_that_stepped
        self.write(batch=batch, loss=float(loss).hex(), rate=rate, epoch=trainer.current_epoch, logged_at=logged_at)
        self.die_at(batch, "middle")
        self.die_at(batch, "SIGINT")
        self.die_at(batch, "SIGTERM")

    def on_validation_batch_start(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if not trainer.sanity_checking:
            self.die_at(trainer.fit_loop.total_batch_idx, "SIGUSR1")

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            value = float(trainer.callback_metrics["val/loss"]).hex() if "val/loss" in trainer.callback_metrics else ""
            self.write(validation=trainer.global_step, loss=value)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.file.close()


def die_when_saved(journal: Journal, trainer: L.Trainer) -> None:
    """Makes every fsync a place to die at: a checkpoint has been written, but not yet renamed."""
    fsync = os.fsync

    def fsync_or_die(file: int) -> None:
        journal.die_at(trainer.fit_loop.total_batch_idx, "save")
        fsync(file)

    os.fsync = fsync_or_die  # type: ignore[assignment]


def train(folder: Path, scenario: Scenario, kill_at: tuple[int, str] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    warnings.filterwarnings("ignore")
    L.seed_everything(11, verbose=False)
    journal = Journal(folder, kill_at)
    checkpoints = folder / "checkpoints"
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        plugins=[WholeCheckpointIO()],
        strategy="fsdp2" if scenario.sharded else "auto",
        callbacks=[journal, SaveOnSignal(), ModelCheckpoint(checkpoints, **scenario.checkpoint)],
        **scenario.trainer,
    )
    die_when_saved(journal, trainer)
    lm = folder.parent / "lm"
    shared: dict[str, Any] = {"max_tokens": 160, "max_length": 160, "num_workers": 2}
    model: L.LightningModule
    data: L.LightningDataModule
    if scenario.policy:
        model = PolicyModel(str(lm), optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3))
        data = PolicyDataModule(str(folder.parent / "policy.jsonl"), **shared)
    else:
        model = ProcessRewardModel(str(lm), optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3))
        shared |= {"cache_dir": str(folder.parent / "cache"), "validation_fraction": 0.2}
        data = ProcessRewardDataModule(str(folder.parent / "rollouts.parquet"), **shared)
    found = sorted(folder.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    trainer.fit(model, data, ckpt_path=found[-1] if found else None)
    weights = hashlib.sha256()
    for parameter in model.parameters():
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        weights.update(whole.detach().numpy().tobytes())
    (folder / "weights.txt").write_text(weights.hexdigest(), encoding="utf-8")


def in_child(*arguments: Any) -> int:
    """Exit status of a run in a process of its own; negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        status = 1
        try:
            train(*arguments)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare(folder: Path) -> None:
    """Files to train on: a Llama with dropout, rollouts, and samples for a policy."""
    tokenizer = make_tokenizer()
    make_llama(len(tokenizer), attention_dropout=0.1).save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    rewards = [[[1.0, 0.0, 1.0, 1.0], [1.0]], [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0]]]
    write_records([make_record(i // 2, rewards[i % 2]) for i in range(36)], folder / "rollouts.parquet")
    rows = [{"prompt": f"What is {i}?\n", "completion": f"Step 1: {i} = {i}."} for i in range(30)]
    (folder / "policy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(folder: Path, name: str, kills: int) -> None:
    scenario = SCENARIOS[name]
    folder.mkdir()
    prepare(folder)
    assert in_child(folder / "whole", scenario) == 0
    batches = [row["batch"] for row in read_journal(folder / "whole") if "batch" in row]
    choose = random.Random(kills)
    for batch in sorted(choose.sample(batches[2:], kills)):
        end = choose.choice(scenario.ends)
        status = in_child(folder / "killed", scenario, (batch, end))
        if status == 0:
            break
        assert status == (128 + signal.Signals[end] if end.startswith("SIG") else -signal.SIGKILL), status
    else:
        assert in_child(folder / "killed", scenario) == 0


def read_journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    # One thread: a forked process has no others.
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
    for scenario_name in sys.argv[3:]:
        main(Path(sys.argv[1]) / scenario_name, scenario_name, int(sys.argv[2]))
