"""Estimate of a training: the memory and the time that it will need, from its configuration and one dry step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from erprm.data import ProcessRewardDataModule
from erprm.data.packing import StepBatch
from erprm.estimate.config import EstimateConfig
from erprm.estimate.flops import rows_cost
from erprm.estimate.step_memory import BatchShape, StepNeeds, dry_step
from erprm.models.process_reward import ProcessRewardModel
from erprm.report.tables import Table

GIB = 2**30
_SAMPLED_BATCHES = 64
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


@dataclass(frozen=True)
class _Epoch:
    """One epoch over the training data, on all processes together.

    Attributes:
        solutions: solutions.
        tokens: tokens as they are laid out, padding aside.
        pairs: pairs of a token and a token it reads.
        batches: batches.
        largest: the largest batch.
    """

    solutions: int
    tokens: int
    pairs: int
    batches: int
    largest: BatchShape


def print_estimate(
    model: ProcessRewardModel,
    data: ProcessRewardDataModule,
    trainer: Mapping[str, Any],
    settings: EstimateConfig,
    console: Console,
) -> None:
    """Takes one dry step, and prints what the training will need.

    Args:
        model: the model, without its weights.
        data: the data.
        trainer: the trainer's keys; it is not made, since it may be for a machine that is not this one.
        settings: what these do not say.
        console: where the tables go.

    Raises:
        ValueError: if the number of devices depends on the machine.
        FileNotFoundError: if the data do not exist and the settings do not say what they hold.
    """
    run = _Run.of_trainer(trainer, settings.processes)
    epoch = _epoch(model, data, settings)
    needs = dry_step(model, epoch.largest, run.precision)
    console.print(_memory_table(needs, run, model.gradient_checkpointing).rich())
    console.print(_time_table(needs, epoch, run, settings).rich())


@dataclass(frozen=True)
class _Run:
    """Settings of the run, read from the trainer's keys.

    Attributes:
        processes: devices.
        shards: of these, how many share one copy of the weights.
        precision: Lightning's name of it.
        epochs: epochs.
        max_steps: optimizer steps at most; None for no limit.
        accumulated: batches of an optimizer step, of one process.
    """

    processes: int
    shards: int
    precision: str
    epochs: int
    max_steps: int | None
    accumulated: int

    @classmethod
    def of_trainer(cls, trainer: Mapping[str, Any], processes: int | None) -> _Run:
        """Reads the keys.

        Args:
            trainer: the keys of ``trainer``, those left out at Lightning's defaults.
            processes: number of devices, in place of what the keys say.

        Raises:
            ValueError: if the number of devices depends on the machine.
        """
        devices = trainer.get("devices", "auto")
        if processes is None:
            each = len(devices) if isinstance(devices, list) else devices
            if not str(each).isdecimal():
                raise ValueError(
                    f"trainer.devices is {devices!r}, which depends on the machine: set it to a number, or set "
                    "estimate.processes"
                )
            processes = int(each) * int(trainer.get("num_nodes", 1))
        strategy = trainer.get("strategy", "auto")
        return cls(
            processes=processes,
            shards=_shards(strategy, processes),
            precision=_PRECISIONS.get(str(trainer.get("precision")), str(trainer.get("precision") or "32-true")),
            epochs=max(1, int(trainer.get("max_epochs") or 1)),
            max_steps=max_steps if (max_steps := int(trainer.get("max_steps", -1))) > 0 else None,
            accumulated=int(trainer.get("accumulate_grad_batches", 1)),
        )


def _shards(strategy: Any, processes: int) -> int:
    """Number of processes that share one copy of the weights."""
    settings: Mapping[str, Any] = {"class_path": strategy} if isinstance(strategy, str) else strategy
    name = str(settings["class_path"]).lower()
    if "fsdp" not in name and "modelparallel" not in name:
        return 1
    return int((settings.get("init_args") or {}).get("shard_size") or processes)


def _epoch(model: ProcessRewardModel, data: ProcessRewardDataModule, settings: EstimateConfig) -> _Epoch:
    if settings.solutions is not None:
        return _assumed_epoch(data, settings)
    if data.rollouts is None or not Path(data.rollouts).exists():
        raise FileNotFoundError(
            f"data.rollouts is {data.rollouts!r}, which does not exist: give estimate.solutions and "
            "estimate.tokens_per_solution instead"
        )
    data.step_encoder = model.step_encoder
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    batches = list(islice(loader, _SAMPLED_BATCHES))
    share = len(batches) / len(loader)
    tokens, pairs = torch.stack([rows_cost(batch) for batch in batches]).sum(0).tolist()
    largest = max(batches, key=lambda batch: (batch.input_ids.numel(), len(batch.tag_index)))
    return _Epoch(
        solutions=len(data.train_set),
        tokens=round(tokens / share),
        pairs=round(pairs / share),
        batches=len(loader),
        largest=_shape(largest),
    )


def _shape(batch: StepBatch) -> BatchShape:
    rows, row_tokens = batch.input_ids.shape
    return BatchShape(rows, row_tokens, len(batch.tag_index))


def _assumed_epoch(data: ProcessRewardDataModule, settings: EstimateConfig) -> _Epoch:
    assert settings.solutions is not None
    assert settings.tokens_per_solution is not None
    length = settings.tokens_per_solution
    in_batch = max(1, data.max_tokens // length)
    row_tokens = data.row_tokens or data.max_tokens
    shape = BatchShape(max(1, data.max_tokens // row_tokens), row_tokens, in_batch * settings.steps_per_solution)
    return _Epoch(
        solutions=settings.solutions,
        tokens=settings.solutions * length,
        pairs=settings.solutions * length * (length + 1) // 2,
        batches=-(-settings.solutions // in_batch),
        largest=shape,
    )


def _memory_table(needs: StepNeeds, run: _Run, recomputes: bool) -> Table:
    shards = run.shards
    activations = "activations of a batch" + (", recomputed" if recomputes else "")
    rows = [
        ("weights", f"{needs.parameters:,}, of which {needs.trained:,} are trained"),
        ("weights and buffers", f"{needs.weights / shards / GIB:.2f} GiB"),
        ("optimizer states", f"{needs.optimizer / shards / GIB:.2f} GiB"),
        ("gradients", f"{needs.gradients / shards / GIB:.2f} GiB"),
        (activations, f"{needs.passes_onto_gradients / GIB:.2f} GiB"),
        ("gathered weights", f"{2 * needs.largest_block / GIB:.2f} GiB" if shards > 1 else "none: not sharded"),
        ("at the peak", f"{needs.memory(shards, accumulates=run.accumulated > 1) / GIB:.2f} GiB"),
    ]
    return Table("Memory of one device", [], rows)


def _time_table(needs: StepNeeds, epoch: _Epoch, run: _Run, settings: EstimateConfig) -> Table:
    accumulated = run.processes * run.accumulated
    steps_of_epoch = -(-epoch.batches // accumulated)
    steps = min(run.epochs * steps_of_epoch, run.max_steps or run.epochs * steps_of_epoch)
    flops = steps / steps_of_epoch * needs.flops.total(epoch.tokens, epoch.pairs)
    time = ("hours", "give estimate.peak_tflops")
    if settings.peak_tflops is not None:
        hours = flops / (run.processes * settings.peak_tflops * 1e12 * settings.mfu) / 3600
        time = (f"hours at {settings.mfu:.0%} of {settings.peak_tflops:g} TFLOP/s", f"{hours:,.2f}")
    rows = [
        ("solutions", f"{epoch.solutions:,}"),
        ("tokens of an epoch, as laid out", f"{epoch.tokens:,}"),
        ("tokens of an optimizer step", f"{round(epoch.tokens / epoch.batches * accumulated):,}"),
        ("optimizer steps", f"{steps:,}"),
        ("floating-point operations", f"{flops:.3g}"),
        time,
    ]
    return Table(f"{steps / steps_of_epoch:g} epoch(s) on {run.processes} device(s)", [], rows)
