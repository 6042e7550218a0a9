"""One training of the part ``fsdp``, which writes what it saw as JSON; Lightning starts it again for each device."""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from torch.optim import AdamW
from torch.utils.data import DataLoader

from benchmarks.gpu.device import forget_peak, peak_gib, synchronize
from benchmarks.gpu.models import RandomWeights, batches, samples

STEPS = 6


class Notes(L.Callback):
    """Losses and times of the optimizer steps."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes them."""
        synchronize(pl_module.device)
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.ends.append(time.perf_counter())


def main() -> None:
    """Trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="fsdp2")
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    is_full = arguments.device == "cuda"
    (batch, *_) = batches(samples(64 if is_full else 8), 8192 if is_full else 1024, "trees")
    module = RandomWeights(str(arguments.folder), optimizer=partial(AdamW, lr=1e-4, weight_decay=0.0), scheduler=None)
    notes = Notes()
    trainer = L.Trainer(
        accelerator=arguments.device, devices=arguments.devices, strategy=arguments.strategy,
        precision=arguments.precision, max_steps=STEPS, max_epochs=-1, limit_val_batches=0, gradient_clip_val=1.0,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=arguments.out.parent, callbacks=[notes],
    )  # fmt: skip
    device = trainer.strategy.root_device
    before = forget_peak(device)
    trainer.fit(module, DataLoader([batch] * STEPS, batch_size=None))
    if trainer.global_rank == 0:
        parts = [p.to_local() if hasattr(p, "to_local") else p for p in module.parameters()]
        # The first two steps compile kernels and make the optimizer's states.
        seconds = statistics.median(b - a for a, b in zip(notes.ends[1:], notes.ends[2:], strict=False))
        told = {
            "losses": notes.losses,
            "tokens/s": arguments.devices * int((batch.position_ids + 1 > 0).sum()) / seconds,
            "weights of a device": sum(part.numel() for part in parts),
            "GiB": peak_gib(device, before),
        }
        arguments.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
