"""Part ``kernels``: the attention kernels against ``sdpa`` for rows of several lengths, and the choice of ``auto``.

Each kernel runs the same model (four layers in the shape of Llama-3.2-1B) on the same packed row, forward and backward.
Compared are the scores, the loss and all gradients; the largest differences allowed are in ``TOLERANCES``. A row's
``ms`` is the shortest of three, after a first call, which compiles (``first s``); ``auto`` is right about speed if it
is at most a tenth slower than the fastest kernel.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils.import_utils import is_flash_attn_2_available

from benchmarks.gpu.device import forget_peak, peak_gib, seconds_of, synchronize
from benchmarks.gpu.models import RandomWeights, batches, build, model_folder, samples
from benchmarks.gpu.settings import Row, Settings
from erprm.data.packing import StepBatch

# Of scores and of the loss the largest difference; of gradients its norm as a share of theirs.
TOLERANCES = {
    "float32": {"scores": 1e-4, "loss": 1e-4, "gradients": 1e-3},
    "bfloat16": {"scores": 2e-2, "loss": 1e-2, "gradients": 5e-2},
}
TIMES = 3
# Float32 takes long to compile as well, and says little about speed.
FLOAT32_WIDTHS = 2
SLOWER_BY = 1.1


@dataclass
class Outcome:
    """What a kernel made of a row, and what it cost."""

    scores: Tensor
    loss: float
    gradients: list[Tensor]
    ms: float
    first_s: float
    gib: float | None
    used: str


def rows(settings: Settings) -> Iterator[Row]:
    """One for each type, packing, width and kernel."""
    path = model_folder(settings.folder, "four layers" if settings.is_full else "tiny")
    for dtype in ("bfloat16", "float32"):
        module = build(path, settings.device, dtype=dtype)
        widths = settings.widths if dtype == "bfloat16" else settings.widths[:FLOAT32_WIDTHS]
        for width in widths:
            # Short enough for several to share the shortest row.
            solutions = samples(16 + width // 20, longest=max(200, min(512, width // 8)))
            for packing in ("trees", "rows"):
                batch = batches(solutions, width, packing)[0]
                batch = module.transfer_batch_to_device(batch, settings.device, 0)
                about = {"dtype": dtype, "packing": packing, "tokens": batch.input_ids.shape[1]}
                yield from compared(module, batch, about, kernels_for(packing, dtype, settings))
        del module


def kernels_for(packing: str, dtype: str, settings: Settings) -> list[str]:
    """The kernels that can read such rows, the one they are compared with first."""
    if not settings.is_full:
        return ["sdpa", "auto"]  # Flex attention has no backward pass on a CPU.
    flash = packing == "rows" and dtype == "bfloat16" and is_flash_attn_2_available()
    return ["sdpa", "flex_attention", *(["flash_attention_2"] if flash else []), "auto"]


def compared(module: RandomWeights, batch: StepBatch, about: Row, kernels: list[str]) -> Iterator[Row]:
    """A row for each kernel; the first is what the others are compared with."""
    expected: Outcome | None = None
    fastest = float("inf")
    for kernel in kernels:
        row: Row = {**about, "kernel": kernel}
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                found = outcome(module, batch, kernel)
        except Exception as error:  # noqa: BLE001 - the other kernels go on, whatever this one's compiler raised
            yield {**row, "ok": False, "error": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        row |= {"ms": found.ms, "first s": found.first_s, "GiB": found.gib}
        if expected is None:
            expected = found
        difference = differences(found, expected)
        allowed = TOLERANCES[about["dtype"]]
        row |= difference | {"ok": all(difference[name] <= allowed[name] for name in allowed)}
        if kernel == "auto":
            row |= {"auto took": found.used, "as fast as any": found.ms <= SLOWER_BY * fastest}
            if refused := [str(each.message) for each in told if "is not used for" in str(each.message)]:
                row |= {"ok": False, "error": refused[0]}
        fastest = min(fastest, found.ms)
        yield row


def outcome(module: RandomWeights, batch: StepBatch, kernel: str) -> Outcome:
    """Runs a kernel."""
    module.attn_implementation = kernel  # type: ignore[assignment]
    before = forget_peak(module.device)
    held: dict[str, Any] = {}

    def step() -> None:
        module.zero_grad()
        logits, losses = module.logits_and_losses(batch)
        held["scores"] = logits.detach().float().softmax(-1)[:, 0]
        held["loss"] = losses.mean()
        held["loss"].backward()

    started = time.perf_counter()
    step()
    synchronize(module.device)
    first = time.perf_counter() - started
    forget_peak(module.device)
    milliseconds = 1e3 * min(seconds_of(step, module.device) for _ in range(TIMES))
    used: str = module.backbone.config._attn_implementation  # type: ignore[union-attr]
    gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    return Outcome(
        held["scores"], float(held["loss"]), gradients, milliseconds, first, peak_gib(module.device, before), used
    )


def differences(found: Outcome, expected: Outcome) -> dict[str, float]:
    """See ``TOLERANCES``."""
    off = sum(
        float((ours.float() - theirs.float()).square().sum())
        for ours, theirs in zip(found.gradients, expected.gradients, strict=True)
    )
    size = sum(float(theirs.float().square().sum()) for theirs in expected.gradients)
    return {
        "scores": float((found.scores - expected.scores).abs().max()),
        "loss": abs(found.loss - expected.loss),
        "gradients": (off / size) ** 0.5,
    }
