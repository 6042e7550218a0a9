"""Measurements that all arms of the training benchmark share, and the machine's matmul speed.

    python measure.py config.json     # prints the matmul speed for the linear layers of that Llama, in FLOP/s

Runs in environments without erprm; needs torch for the speed alone.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_TOKENS = 2048


@dataclass
class Work:
    """Work done between two moments.

    Attributes:
        solutions: trained on.
        solution_tokens: of these solutions, each counted whole.
        tokens: that had to be computed: no padding, and what solutions share as often as the arm lays it out.
        pairs: of a token and one that it sees, among these.
    """

    solutions: int = 0
    solution_tokens: int = 0
    tokens: int = 0
    pairs: int = 0

    def add_whole(self, lengths: list[int]) -> None:
        """Adds solutions that are each computed whole."""
        self.solutions += len(lengths)
        self.solution_tokens += sum(lengths)
        self.tokens += sum(lengths)
        self.pairs += sum(length * (length + 1) // 2 for length in lengths)


class Clock:
    """Time and work after the warm-up: ``start`` ends it, ``report`` prints a line of JSON.

    Made once everything is imported, before a model is loaded.
    """

    def __init__(self) -> None:
        self.imports_mb = peak_mb()
        self.work = Work()
        self.started = self.started_cpu = 0.0

    def start(self) -> None:
        """Begins to measure; earlier work is forgotten."""
        self.work = Work()
        self.started, self.started_cpu = time.perf_counter(), time.process_time()

    def report(self) -> None:
        """Prints seconds, of the clock and of the processors, work, and the peak memory of this process in MB."""
        result = {
            "seconds": time.perf_counter() - self.started,
            "cpu_seconds": time.process_time() - self.started_cpu,
            "peak_mb": peak_mb(),
            "imports_mb": self.imports_mb,
            **asdict(self.work),
        }
        print(json.dumps(result), flush=True)


def peak_mb() -> float:
    """The most memory that this process has held, in MB.

    Read off ``/proc``: the peak that ``getrusage`` gives begins with that of the process which started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def linear_sizes(config: dict[str, int]) -> list[tuple[int, int]]:
    """Input and output width of each linear layer of a decoder layer."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    key_width = width * config["num_key_value_heads"] // config["num_attention_heads"]
    return (
        [(width, width), (width, key_width), (width, key_width), (width, width)]
        + 2 * [(width, inner)]
        + [(inner, width)]
    )


def matmul_speed(config: dict[str, int]) -> float:
    """FLOP/s of a decoder layer's matrix products alone, forward and backward, with nothing between them."""
    import torch

    sizes = linear_sizes(config)
    weights = [torch.randn(out, into) for into, out in sizes]
    inputs = [torch.randn(_TOKENS, into) for into, _ in sizes]
    outputs = [torch.randn(_TOKENS, out) for _, out in sizes]
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        for weight, given, gradient in zip(weights, inputs, outputs, strict=True):
            torch.mm(given, weight.T)
            torch.mm(gradient, weight)
            torch.mm(gradient.T, given)
        best = min(best, time.perf_counter() - started)
    return 3 * 2 * _TOKENS * sum(into * out for into, out in sizes) / best


if __name__ == "__main__":
    print(json.dumps({"matmul": matmul_speed(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))}))
