"""Memory that loading a backbone takes on one of several processes: whole, and by the rows of its own.

    python benchmarks/loading.py

Writes a Llama with random weights into several safetensors files, in bfloat16 as such models are published, and loads
it twice in float32, each time in a fresh process: with transformers' `from_pretrained`, as every process of DDP does,
and as one of `--processes` under FSDP2. The other processes are not there (torch's process group `fake` answers for
them). What is measured is what one process adds to the memory of its machine if its part of the weights stays there, as
on a CPU; on a GPU that part goes to the device.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

MB = 2**20


def write_model(folder: Path, layers: int, width: int) -> None:
    """A Llama in about six files."""
    config: Any = LlamaConfig
    model: Any = LlamaForCausalLM
    settings = config(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=16_000,
        tie_word_embeddings=False,
    )
    built = model(settings).to(torch.bfloat16)
    size = sum(parameter.numel() * 2 for parameter in built.parameters())
    built.save_pretrained(folder, max_shard_size=size // 6)


def memory_mb(field: str) -> float:
    """A field of this process's status: VmRSS, what it holds, or VmHWM, the most it has held."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def load(folder: Path, way: str, processes: int) -> float:
    """Loads the model; returns by how many MB memory grew at its peak."""
    from erprm.models.backbone.loading import load_causal_lm
    from erprm.models.backbone.sharded_loading import DeferredWeights, empty_causal_lm

    if way == "rows":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        from torch.testing._internal.distributed.fake_pg import FakeStore

        torch.distributed.init_process_group("fake", rank=0, world_size=processes, store=FakeStore())
        mesh = init_device_mesh("cpu", (processes,))
    Path("/proc/self/clear_refs").write_text("5")  # The peak is counted from here.
    before = memory_mb("VmRSS")
    if way == "whole":
        load_causal_lm(str(folder))
    else:
        model: Any = empty_causal_lm(str(folder), dtype=torch.float32, attn_implementation="sdpa")
        deferred = DeferredWeights(model, str(folder))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        deferred.load(model, torch.device("cpu"))
    return memory_mb("VmHWM") - before


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--load", nargs=2, metavar=("FOLDER", "WAY"), help="of the fresh processes")
    settings = parser.parse_args()
    if settings.load:
        folder, way = settings.load
        print(load(Path(folder), way, settings.processes))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), settings.layers, settings.width)
        sizes = [file.stat().st_size / MB for file in Path(folder).glob("*.safetensors")]
        peaks = {}
        for way in ("whole", "rows"):
            command = [sys.executable, __file__, "--load", folder, way, "--processes", str(settings.processes)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            peaks[way] = float(output.splitlines()[-1])
    told = {
        "files": len(sizes),
        "weights_mb": sum(sizes),
        "largest_file_mb": max(sizes),
        # Two bytes of a file become four.
        "own_part_mb": 2 * sum(sizes) / settings.processes,
        "peak_whole_mb": peaks["whole"],
        "peak_by_rows_mb": peaks["rows"],
    }
    for name, value in told.items():
        print(f"{name:16} {value:8.0f}")


if __name__ == "__main__":
    main()
