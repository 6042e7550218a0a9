"""Work for two processes together: ``python -m tests.two_ranks FOLDER`` on each, with torchrun's variables.

All runs share one start of Python, which takes longer than they do. The processes write what they saw to ``rank0.json``
and ``rank1.json``; ``tests/models/test_two_ranks.py`` makes the folder, starts the processes and compares.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy, Strategy
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from erprm.callbacks import BestOfN, ExportHF, StepEvaluation, Throughput
from erprm.data import ProcessRewardDataModule
from erprm.data.policy import PolicyDataModule
from erprm.models import FSDP2Strategy, LoRA, PolicyModel, ProcessRewardModel
from erprm.steps import Solution, StepFormat
from tests.callbacks.test_export import WorseAndWorse

LEARNING_RATE = 1e-3
CLIP = 0.5
STEPS = 20
ARCHITECTURES = ["Llama", "Mistral", "Qwen2", "Gemma"]
SOLUTIONS = [
    Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
    Solution("What is 5 and 5 more?", ["ten", "Step 2: 15.", "The answer is: 15"]),
]


class FSDP1OnCPU(FSDPStrategy):
    """Lightning's FSDP1, which refuses a CPU, on one: torch does not, if it is named."""

    def __init__(self) -> None:
        super().__init__(process_group_backend="gloo")

    def _setup_model(self, model: nn.Module) -> nn.Module:
        return FullyShardedDataParallel(
            model,
            device_id=torch.device("cpu"),
            sharding_strategy=self.sharding_strategy,
            mixed_precision=self.mixed_precision_config,
            **self.kwargs,
        )


class Notes(L.Callback):
    """Losses, and the records of each batch of this process."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.records: list[list[str]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.records.append(batch.record_ids)


class LabelLogits(L.Callback):
    """The type of what the output layer returns, and how many tokens it is for."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ProcessRewardModel)
        assert pl_module.backbone is not None
        head = pl_module.backbone.get_output_embeddings()
        head.register_forward_hook(lambda _head, _inputs, out: self.seen.add((str(out.dtype), out.shape[-1])))


def build_model(backbone: Path, **settings: Any) -> ProcessRewardModel:
    optimizer = partial(torch.optim.AdamW, lr=LEARNING_RATE)
    return ProcessRewardModel(str(backbone), optimizer=optimizer, scheduler=None, **settings)


def build_data(folder: Path) -> ProcessRewardDataModule:
    return ProcessRewardDataModule(
        str(folder / "rollouts.parquet"),
        validation_fraction=0.3,
        max_tokens=300,
        max_length=256,
        eta=0.0,
        cache_dir=str(folder / "cache"),
    )


def policy_data(folder: Path) -> PolicyDataModule:
    return PolicyDataModule(str(folder / "samples.jsonl"), max_tokens=150, max_length=150)


def fit(
    folder: Path,
    model: L.LightningModule,
    *callbacks: L.Callback,
    data: L.LightningDataModule | None = None,
    strategy: str | Callable[[], Strategy] = "auto",
    resume: Path | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Trains, and says how it went."""
    L.seed_everything(0, verbose=False)
    notes = Notes()
    trainer = L.Trainer(
        accelerator="cpu",
        strategy=strategy if isinstance(strategy, str) else strategy(),
        devices=int(os.environ.get("WORLD_SIZE", "1")),
        max_epochs=-1,
        logger=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=CLIP,
        default_root_dir=folder,
        callbacks=[notes, *callbacks],
        **settings,
    )
    trainer.fit(model, data or build_data(folder), ckpt_path=resume)
    return {
        "losses": notes.losses,
        "records": notes.records,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
    }


def save_every(folder: Path, steps: int) -> ModelCheckpoint:
    return ModelCheckpoint(dirpath=folder, every_n_train_steps=steps, save_top_k=-1, filename="{step}")


def train_and_export(folder: Path, strategy: Any, name: str) -> dict[str, Any]:
    """The whole loop, with batches of unequal numbers of steps and pools that two processes cannot share out evenly."""
    best_of_n = BestOfN(str(folder / "pool.jsonl"), name="pool", kind="gsm8k")
    export = ExportHF(str(folder / name))
    return fit(folder, build_model(folder / "lm"), best_of_n, export, strategy=strategy, max_steps=STEPS)


def run_test(folder: Path, strategy: Any, logs: Path, devices: int = 2) -> None:
    """The command ``test`` on a pool that two processes cannot share out evenly, and on step labels."""
    callbacks: list[L.Callback] = [
        BestOfN(str(folder / "pool.jsonl"), name="pool", kind="gsm8k"),
        StepEvaluation({"rollouts": str(folder / "rollouts.parquet")}, threshold=0.5),
    ]
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy if isinstance(strategy, str) else strategy(),
        logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=logs, callbacks=callbacks,
    )  # fmt: skip
    trainer.test(build_model(folder / "lm", step_format="er_prm"), ProcessRewardDataModule(), verbose=False)


def stop_and_resume(folder: Path, strategy: Any, name: str, **settings: Any) -> dict[str, Any]:
    """Six steps in one go, and the last three of them again from the checkpoint after the third."""
    backbone = folder / "lm"
    checkpoints = folder / f"{name}-checkpoints"
    whole = fit(
        folder, build_model(backbone, **settings), save_every(checkpoints, 3), strategy=strategy, max_steps=6,
        limit_val_batches=0,
    )  # fmt: skip
    resumed = fit(
        folder, build_model(backbone, **settings), strategy=strategy, max_steps=6, limit_val_batches=0,
        resume=checkpoints / "step=3.ckpt",
    )  # fmt: skip
    return {"whole": whole["losses"], "resumed": resumed["losses"]}


def train_briefly(folder: Path, backbone: str = "lm", *, trainer: dict[str, Any] | None = None, **settings: Any) -> Any:
    """Three steps under FSDP2, and where the weights are."""
    model = build_model(folder / backbone, **settings)
    logits = LabelLogits()
    run = {"strategy": "fsdp2", "max_steps": 3, "limit_val_batches": 0, **(trainer or {})}
    told = fit(folder, model, logits, **run)
    told["label logits"] = sorted(logits.seen)
    local = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
    told["weights"] = sum(part.numel() for part in local)
    told["types"] = sorted({str(part.dtype) for part in local})
    return told


def scores_when_sharded(folder: Path, backbone: str, **settings: Any) -> list[list[float]]:
    """Scores of a model whose weights each process has read its own rows of."""
    model = build_model(folder / backbone, **{"step_format": "er_prm", **settings})
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="fsdp2", logger=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=1,
    )  # fmt: skip
    trainer.validate(model, build_data(folder), verbose=False)
    # The processes ask for different numbers of solutions, so of forwards.
    own = SOLUTIONS if trainer.global_rank == 0 else SOLUTIONS[:1]
    with torch.no_grad():
        return [scores.tolist() for scores in model.score_steps(own)]


def main(folder: Path) -> None:
    told: dict[str, Any] = {}
    for name in ("ddp", "fsdp2"):
        told[name] = train_and_export(folder, name, name)
        told[f"{name} resumed"] = stop_and_resume(folder, name, name)
    for name, strategy in {"ddp": "ddp", "fsdp2": "fsdp2", "fsdp1": FSDP1OnCPU}.items():
        run_test(folder, strategy, folder / f"{name}-tested")
    told["fsdp1"] = train_and_export(folder, FSDP1OnCPU, "fsdp1")
    one_file = partial(FSDP2Strategy, save_distributed_checkpoint=False)
    told["one file resumed"] = stop_and_resume(folder, one_file, "one-file")
    told["lora resumed"] = stop_and_resume(folder, "fsdp2", "lora", lora=LoRA(r=2))
    best = ModelCheckpoint(
        folder / "best-checkpoints", monitor="quality", mode="max", save_top_k=-1, filename="{epoch}"
    )
    told["best"] = fit(
        folder, build_model(folder / "lm"), WorseAndWorse(), best, ExportHF(str(folder / "best"), which="best"),
        strategy="fsdp2", max_steps=8, limit_val_batches=1,
    )  # fmt: skip
    told["accumulated"] = train_briefly(folder, trainer={"accumulate_grad_batches": 2, "max_steps": 4})
    told["checkpointed"] = train_briefly(folder, gradient_checkpointing=True)
    told["bf16-mixed"] = train_briefly(folder, trainer={"precision": "bf16-mixed"})
    told["bf16-true"] = train_briefly(folder, trainer={"precision": "bf16-true"})
    told["copies"] = train_briefly(folder, trainer={"strategy": partial(FSDP2Strategy, shard_size=1)})
    for name in ("ddp", "fsdp2"):
        optimizer = partial(torch.optim.AdamW, lr=LEARNING_RATE)
        policy = PolicyModel(str(folder / "lm"), optimizer=optimizer, scheduler=None)
        told[f"policy {name}"] = fit(folder, policy, strategy=name, max_steps=4, data=policy_data(folder))
    # The rates are those of the last four steps, and all batches are of the training data.
    speed = Throughput(every_n_steps=4)
    told["throughput"] = fit(
        folder, build_model(folder / "lm"), speed, strategy="ddp", max_steps=5, limit_val_batches=0
    )
    added = StepFormat(add_tokens=True)
    told["lora"] = fit(
        folder, build_model(folder / "tied", lora=LoRA(r=2), step_format=added), ExportHF(str(folder / "lora")),
        strategy="fsdp2", max_steps=4, limit_val_batches=0,
    )  # fmt: skip
    told["scores"] = {name: scores_when_sharded(folder, name) for name in ARCHITECTURES}
    told["scores"]["tied"] = scores_when_sharded(folder, "tied", step_format=added)
    told["scores"]["renamed"] = scores_when_sharded(folder, "renamed")
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
