"""Part ``memory``: what ``erprm estimate fit`` says that a training step takes, beside what it takes.

Measured is the most memory that PyTorch's allocator has handed out, from before the weights are made to the end of the
second optimizer step; on a CPU, where there is no such number, the most bytes of tensors that are alive together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.gpu.device import GIB, forget_peak
from benchmarks.gpu.models import build, model_folder
from benchmarks.gpu.settings import Row, Settings
from erprm.estimate.step_memory import BatchShape, PeakMemory, dry_step, make_batch
from erprm.models import LoRA, ProcessRewardModel

WITHIN = 0.15
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("135M", {}, "32-true"),
    ("135M", {}, "bf16-mixed"),
    ("135M", {"gradient_checkpointing": True}, "bf16-mixed"),
    ("135M", {"lora": LoRA(r=16)}, "bf16-mixed"),
    ("1B", {}, "bf16-mixed"),
    ("1B", {"gradient_checkpointing": True}, "bf16-true"),
]
TINY: list[tuple[str, dict[str, Any], str]] = [
    ("tiny", {}, "32-true"),
    ("tiny", {"gradient_checkpointing": True}, "bf16-mixed"),
]
SHAPE = BatchShape(rows=2, row_tokens=4096, steps=200)
TINY_SHAPE = BatchShape(rows=2, row_tokens=128, steps=8)


def rows(settings: Settings) -> Iterator[Row]:
    """One for each case and kernel."""
    shape = SHAPE if settings.is_full else TINY_SHAPE
    for name, changes, precision in CASES if settings.is_full else TINY:
        path = model_folder(settings.folder, name)
        estimated = dry_step(ProcessRewardModel(str(path), scheduler=None, **changes), shape, precision).memory()
        for kernel in ("sdpa", "auto") if settings.is_full else ("sdpa",):
            row: Row = {"shape": name, "precision": precision, "settings": ", ".join(changes), "kernel": kernel}
            module_settings = {**changes, "attn_implementation": kernel}
            if precision == "bf16-true":
                module_settings["dtype"] = "bfloat16"
            try:
                measured = measured_bytes(settings, name, module_settings, precision, shape)
            except Exception as error:  # noqa: BLE001 - the other cases go on
                told = f"{type(error).__name__}: {str(error)[:200]}"
                yield {**row, "estimated GiB": estimated / GIB, "ok": False, "error": told}
                continue
            ratio = estimated / measured
            yield {
                **row, "estimated GiB": estimated / GIB, "measured GiB": measured / GIB, "ratio": ratio,
                "ok": abs(ratio - 1) <= WITHIN,
            }  # fmt: skip


def measured_bytes(
    settings: Settings, name: str, module_settings: dict[str, Any], precision: str, shape: BatchShape
) -> int:
    """Takes two optimizer steps."""
    device, path = settings.device, model_folder(settings.folder, name)
    before = forget_peak(device)
    with PeakMemory() if device.type == "cpu" else nullcontext() as counted:
        module = build(path, device, **module_settings).train()
        optimizer = module.optimizer_factory([p for p in module.parameters() if p.requires_grad])
        batch = module.transfer_batch_to_device(make_batch(shape), device, 0)
        for _ in range(2):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = module.logits_and_losses(batch)[1].mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return counted.peak if counted is not None else torch.cuda.max_memory_allocated(device) - before
