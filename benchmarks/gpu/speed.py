"""Part ``speed``: training and scoring in the shapes of published models, beside two padded ways, in bfloat16.

An optimizer step trains on the same solutions in each way: forward, backward, clipping and fused AdamW in a plain loop.

    erprm trees, rows    ProcessRewardModel on packed rows
    official way         padded to 512, logits of the whole vocabulary (``training_arms/padded.py``)
    TRL's way            a token classifier, padded to the longest of a batch (written afresh; TRL is not needed)

``tokens/s`` counts each solution whole, so the ways can be compared; ``MFU`` counts the arithmetic that a way needs
(no padding, no vocabulary, what trees share once), as a share of the device's measured speed at products of large
matrices. Weights and states are bfloat16, which suits a measurement of speed, not a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from benchmarks.gpu.device import forget_peak, matmul_tflops, peak_gib, seconds_of, sheet_tflops
from benchmarks.gpu.models import Sample, batches, build, model_folder, random_model, samples
from benchmarks.gpu.settings import Row, Settings
from benchmarks.training_arms.padded import official_loss, padded_rows, trl_loss
from erprm.data.packing import Packing
from erprm.estimate.flops import TokenFlops, rows_cost, token_flops

# Tokens of a batch; at 8B what is kept for the backward pass takes most of 139 GiB.
MAX_TOKENS = {"8B": 4096}
PADDED_ROWS = 8
STEPS = 2
PAD, GOOD, BAD = 0, 257, 258


@dataclass
class Way:
    """One way of training and scoring.

    Attributes:
        model: the model.
        train: forward and backward on some solutions.
        score: forward alone.
        work: tokens, and pairs of tokens, that it has to compute for them.
    """

    model: Any
    train: Callable[[Sequence[Sample]], None]
    score: Callable[[Sequence[Sample]], None]
    work: Callable[[Sequence[Sample]], tuple[int, int]]


def rows(settings: Settings) -> Iterator[Row]:
    """One for each shape, way, and training or scoring."""
    dtype = torch.bfloat16 if settings.is_full else torch.float32
    peak, sheet = matmul_tflops(settings.device, dtype), sheet_tflops(settings.device, dtype)
    yield {"way": "matrix products alone", "TFLOP/s": peak, "data sheet": sheet}
    solutions = samples(settings.solutions)
    for shape in settings.shapes:
        path = model_folder(settings.folder, shape)
        for name, make in WAYS.items():
            try:
                yield from measured(make, path, shape, name, dtype, settings, solutions, peak)
            except Exception as error:  # noqa: BLE001 - the other ways go on
                # What does not fit into a smaller device is no fault.
                ok = isinstance(error, torch.OutOfMemoryError)
                yield {"shape": shape, "way": name, "ok": ok, "error": f"{type(error).__name__}: {str(error)[:200]}"}


def measured(
    make: Callable[..., Way],
    path: Path,
    shape: str,
    name: str,
    dtype: torch.dtype,
    settings: Settings,
    solutions: Sequence[Sample],
    peak: float,
) -> Iterator[Row]:
    """Training and scoring in one way."""
    device = settings.device
    before = forget_peak(device)
    way = make(path, dtype, device, MAX_TOKENS.get(shape, 16_384))
    optimizer = torch.optim.AdamW(way.model.parameters(), lr=1e-6, weight_decay=0.0, fused=True)

    def step() -> None:
        way.train(solutions)
        torch.nn.utils.clip_grad_norm_(way.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def score() -> None:
        with torch.no_grad():
            way.score(solutions)

    cost = token_flops(getattr(way.model, "backbone", way.model))
    forward = TokenFlops(cost.weights // 3, cost.pair // 3)
    tokens = sum(len(each.ids) for each in solutions)
    for phase, work, of_token in (("training", step, cost), ("scoring", score, forward)):
        way.model.train(phase == "training")
        work()
        forget_peak(device)
        seconds = min(seconds_of(work, device) for _ in range(STEPS))
        tflops = of_token.total(*way.work(solutions)) / seconds / 1e12
        yield {
            "shape": shape, "phase": phase, "way": name, "solutions/s": len(solutions) / seconds,
            "tokens/s": tokens / seconds, "TFLOP/s": tflops, "MFU": tflops / peak, "GiB": peak_gib(device, before),
        }  # fmt: skip
        if phase == "training":
            # Scoring needs no states.
            optimizer.state.clear()


def _packed(packing: Packing, path: Path, dtype: torch.dtype, device: torch.device, max_tokens: int) -> Way:
    module = build(path, device, dtype=str(dtype).removeprefix("torch."))

    def made(solutions: Sequence[Sample]) -> Iterator[Any]:
        for batch in batches(solutions, max_tokens, packing):
            yield module.transfer_batch_to_device(batch, device, 0)

    def train(solutions: Sequence[Sample]) -> None:
        steps = sum(len(each.tags) for each in solutions)
        for batch in made(solutions):
            (module.logits_and_losses(batch)[1].sum() / steps).backward()

    def score(solutions: Sequence[Sample]) -> None:
        for batch in made(solutions):
            module(batch)

    def work(solutions: Sequence[Sample]) -> tuple[int, int]:
        tokens, pairs = sum(rows_cost(batch) for batch in batches(solutions, max_tokens, packing)).tolist()  # type: ignore[union-attr]
        return tokens, pairs

    return Way(module, train, score, work)


def _official(path: Path, dtype: torch.dtype, device: torch.device, _max_tokens: int) -> Way:
    model = random_model(AutoModelForCausalLM, path, dtype, device)

    def loss(part: Sequence[Sample]) -> torch.Tensor:
        return official_loss(model, *_columns(part), GOOD, BAD, PAD)

    def score(solutions: Sequence[Sample]) -> None:
        for part in _parts(solutions):
            input_ids, mask = padded_rows(_columns(part)[0], max(len(each.ids) for each in part), PAD, device)
            logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            for row, each in enumerate(part):
                logits[row, each.tags.tolist()][:, [GOOD, BAD]].float().softmax(-1)

    return Way(model, _trained(loss), score, _whole)


def _trl(path: Path, dtype: torch.dtype, device: torch.device, _max_tokens: int) -> Way:
    model = random_model(AutoModelForTokenClassification, path, dtype, device, num_labels=2)

    def score(solutions: Sequence[Sample]) -> None:
        for part in _parts(solutions):
            trl_loss(model, *_columns(part), PAD)

    return Way(model, _trained(lambda part: trl_loss(model, *_columns(part), PAD)), score, _whole)


WAYS: dict[str, Callable[..., Way]] = {
    "erprm trees": partial(_packed, "trees"),
    "erprm rows": partial(_packed, "rows"),
    "official way": _official,
    "TRL's way": _trl,
}


def _parts(solutions: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [solutions[start : start + PADDED_ROWS] for start in range(0, len(solutions), PADDED_ROWS)]


def _columns(part: Sequence[Sample]) -> tuple[list[Any], list[Any], list[Any]]:
    return [each.ids for each in part], [each.tags for each in part], [each.labels for each in part]


def _trained(loss: Callable[[Sequence[Sample]], torch.Tensor]) -> Callable[[Sequence[Sample]], None]:
    def train(solutions: Sequence[Sample]) -> None:
        for part in _parts(solutions):
            (loss(part) * len(part) / len(solutions)).backward()

    return train


def _whole(solutions: Sequence[Sample]) -> tuple[int, int]:
    lengths = [len(each.ids) for each in solutions]
    return sum(lengths), sum(length * (length + 1) // 2 for length in lengths)
