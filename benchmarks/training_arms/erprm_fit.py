"""erprm's own way: ``ProcessRewardModel`` and ``ProcessRewardDataModule`` under Lightning's ``Trainer``.

    python erprm_fit.py FOLDER --packing trees --batch 64 --steps 2

The token budget of a batch is the smallest with which the solutions make as many batches as ``--steps`` (and one for
warming up) times ``--accumulate``, so that there are as many optimizer steps over the same solutions as elsewhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from measure import Clock
from torch.optim import AdamW

from erprm.data import ProcessRewardDataModule
from erprm.data.batching.sampler import TokenBudgetSampler
from erprm.data.packing import StepBatch
from erprm.data.records import RolloutRecord, write_records
from erprm.models import ProcessRewardModel
from erprm.steps import StepFormat


class StepClock(L.Callback):
    """Starts the clock after the first optimizer step, and counts the work."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Ends the warm-up, or adds a batch."""
        if batch_idx + 1 == trainer.accumulate_grad_batches:
            self.clock.start()
            return
        work, is_token = self.clock.work, batch.input_ids != 0
        work.solutions += len(batch.record_ids)
        rollouts = trainer.datamodule.train_set.rollouts
        # A record of which not even the first step fits is no solution of the rollouts.
        work.solution_tokens += int(rollouts.lengths[np.searchsorted(rollouts.row, rows_of(batch))].sum())
        work.tokens += int(is_token.sum())
        work.pairs += int((batch.position_ids + 1)[is_token].sum())


def rows_of(batch: StepBatch) -> list[int]:
    """Records that a batch holds."""
    return [int(name.rsplit("row ", 1)[1].rstrip(")")) for name in batch.record_ids]


def main() -> None:
    """Trains and prints what was measured."""
    clock = Clock()
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packing", default="trees")
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    settings = json.loads((arguments.folder / "settings.json").read_text(encoding="utf-8"))
    solutions = json.loads((arguments.folder / "solutions.json").read_text(encoding="utf-8"))
    solutions = solutions[: arguments.batch * (1 + arguments.steps)]
    rollouts = arguments.folder / "rollouts.parquet"
    write_records(
        [
            RolloutRecord(
                problem_id=solution["problem"],
                question=solution["question"],
                answer="",
                source="benchmark",
                steps=solution["steps"],
                rewards=[[label] for label in solution["labels"]],
                correct=False,
                policy="",
                sampling="",
                seed=0,
            )
            for solution in solutions
        ],
        rollouts,
    )
    step_format = StepFormat(tag=settings["tag"], positive=settings["good"], negative=settings["bad"])
    model = ProcessRewardModel(
        str(arguments.folder / "model"),
        step_format=step_format,
        optimizer=partial(AdamW, lr=settings["lr"], weight_decay=0.0, fused=True),
        scheduler=None,
    )
    data = ProcessRewardDataModule(
        str(rollouts),
        validation_rollouts=str(rollouts),
        eta=0.0,
        max_length=512,
        packing=arguments.packing,
        cache_dir=str(arguments.folder / "cache"),
        step_encoder=model.step_encoder,
    )
    data.setup("fit")
    data.max_tokens = smallest_budget(data, arguments.accumulate * (1 + arguments.steps))
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=arguments.accumulate,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StepClock(clock)],
    )
    if arguments.profile:
        print_profile(trainer, model, data)
    else:
        trainer.fit(model, data)
        clock.report()


def smallest_budget(data: ProcessRewardDataModule, batches: int) -> int:
    """The fewest tokens of a batch with which the training data make at most this many batches."""
    low, high = 512, int(data.train_set.lengths.sum())
    while low < high:
        middle = (low + high) // 2
        sampler = TokenBudgetSampler(
            data.train_set, data.train_set.lengths, middle, groups=data.train_set.groups, seed=data.seed
        )
        low, high = (low, middle) if len(sampler) <= batches else (middle + 1, high)
    return low


def print_profile(trainer: L.Trainer, model: ProcessRewardModel, data: ProcessRewardDataModule) -> None:
    """Prints the time of each kind of operation."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as measured:
        trainer.fit(model, data)
    print(measured.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=40))


if __name__ == "__main__":
    main()
