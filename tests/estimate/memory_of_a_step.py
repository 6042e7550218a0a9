"""Takes optimizer steps and prints how much memory they took, in bytes; run as a process of its own.

    python -m tests.estimate.memory_of_a_step MODEL_FOLDER '{"gradient_checkpointing": true}' ACCUMULATED_BATCHES

With the environment's MALLOC_MMAP_THRESHOLD_ set low, glibc returns what is freed at once, so that the resident set is
what is in use.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from erprm.estimate.step_memory import BatchShape, make_batch
from erprm.models import ProcessRewardModel
from erprm.models.backbone.lora import LoRA
from tests.tiny import save_tiny_llama

SHAPE = BatchShape(rows=4, row_tokens=1024, steps=100)
PAGE = 4096


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def most_resident() -> int:
    # Not getrusage: its peak begins with what the process that started this one held.
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


def take_steps(folder: Path, shape: BatchShape, settings: dict[str, Any], accumulated: int) -> None:
    if "lora" in settings:
        settings = {**settings, "lora": LoRA(**settings["lora"])}
    module = ProcessRewardModel(str(folder), scheduler=None, attn_implementation="sdpa", **settings)
    module.configure_model()
    module.train()
    optimizer = module.optimizer_factory([p for p in module.parameters() if p.requires_grad])
    batch = make_batch(shape)
    for _ in range(2):
        for _ in range(accumulated):
            module.logits_and_losses(batch)[1].mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def main(folder: Path, settings: dict[str, Any], accumulated: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as tiny:
        # What imports and first calls take is no part of it.
        take_steps(save_tiny_llama(Path(tiny)), BatchShape(rows=2, row_tokens=64, steps=4), settings, accumulated)
    before = resident()
    take_steps(folder, SHAPE, settings, accumulated)
    sys.stdout.write(str(most_resident() - before))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
