"""The attention kernel that ``auto`` takes where there are several: the fastest of those that are right.

A kernel is tried on a small tree (or on plain rows) before its first use on a device. If its outputs or gradients are
not those of ``sdpa``, or it fails, a warning says so, and it is left out. Of the others the fastest depends on the
device, the heads and the length of a row, so each is timed on the first rows of a size, where a size is a power of two:
its mask once, its attention once a layer, with the backward pass where there is one. Random numbers of their own leave
those of the training as they are. Under ``torch.use_deterministic_algorithms`` nothing is timed, since runs would
differ: the first kernel that is right is taken.

Shape suffixes: R rows of T tokens, H heads (K of keys), D width of a head.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from erprm.data.packing import Layout, PackedRows, pack_rows
from erprm.models.attention.masks import block_mask, pair_mask

log = logging.getLogger(__name__)

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Difference that rounding may make, as a share of the largest number."""
_SUPPORTS = {"flex_attention": "_supports_flex_attn", "flash_attention_2": "_supports_flash_attn"}
_TIMES = 3


@dataclass(frozen=True)
class Heads:
    """Attention of a backbone, as far as a kernel's speed depends on it: heads of queries, and of keys and values."""

    queries: int
    keys: int
    width: int
    layers: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, backbone: PreTrainedModel, device: torch.device) -> Heads:
        """Those of a backbone, under the autocast that is on."""
        config = backbone.config.get_text_config()
        queries = config.num_attention_heads
        is_mixed = torch.is_autocast_enabled(device.type)
        return cls(
            queries=queries,
            keys=getattr(config, "num_key_value_heads", None) or queries,
            width=getattr(config, "head_dim", None) or config.hidden_size // queries,
            layers=config.num_hidden_layers,
            dtype=torch.get_autocast_dtype(device.type) if is_mixed else backbone.dtype,
            device=device,
        )


def fastest_kernel(kernels: Sequence[str], backbone: PreTrainedModel, rows: PackedRows) -> str:
    """The fastest of some kernels for packed rows; the last of them is known to be right."""
    *others, last = kernels
    if not others or is_fake(rows.input_ids):
        return last
    heads = Heads.of(backbone, rows.input_ids.device)
    right = [name for name in others if _supports(backbone, name) and is_right(name, rows.layout, heads)]
    if not right or torch.are_deterministic_algorithms_enabled():
        return [*right, last][0]
    size = tuple(length.bit_length() for length in rows.input_ids.shape)
    with_gradients = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    key = (*right, last, rows.layout, size, with_gradients, heads)
    if key not in _fastest:
        with _undisturbed(with_gradients):
            seconds = {name: _seconds(name, heads, rows) for name in [*right, last]}
        _fastest[key] = min(seconds, key=lambda name: seconds[name])
        told = ", ".join(f"{name} {1e3 * each:.2f} ms" for name, each in seconds.items())
        log.info("%s for rows of %d tokens (%s)", _fastest[key], rows.input_ids.shape[1], told)
    return _fastest[key]


# By everything that it depends on.
_fastest: dict[tuple[Any, ...], str] = {}


def _supports(backbone: PreTrainedModel, kernel: str) -> bool:
    # transformers' flex attention has no dropout.
    drops = bool(getattr(backbone.config.get_text_config(), "attention_dropout", None))
    return bool(getattr(backbone, _SUPPORTS.get(kernel, ""), True)) and not (drops and kernel == "flex_attention")


@cache
def is_right(kernel: str, layout: Layout, heads: Heads) -> bool:
    """True if a kernel computes what ``sdpa`` does, gradients included; else a warning says what is wrong with it."""
    complaint = None
    try:
        with _undisturbed(with_gradients=True):
            found = _outputs_and_gradients(kernel, heads, layout)
            expected = _outputs_and_gradients("sdpa", heads, layout, torch.float32)
            for name, ours, theirs in zip(("output", "gradient"), found, expected, strict=True):
                difference = float((ours - theirs).abs().max()) / max(1.0, float(theirs.abs().max()))
                # Not `>`, which NaN would pass.
                if not difference <= TOLERANCE[heads.dtype]:
                    complaint = f"its {name} differs from that of sdpa by {difference:.2g}"
                    break
    except Exception as error:  # noqa: BLE001 - compilers of kernels raise errors of all kinds
        complaint = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if complaint is not None:
        where = torch.cuda.get_device_name(heads.device) if heads.device.type == "cuda" else heads.device.type
        warnings.warn(
            f"{kernel} is not used for {layout} of {heads.dtype} on {where}: {complaint}. Slower kernels take its "
            "place; name one in model.attn_implementation to choose it yourself",
            stacklevel=2,
        )
    return complaint is None


def _outputs_and_gradients(
    kernel: str, heads: Heads, layout: Layout, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """What a kernel makes of a small layout, in float32; of two blocks of flex attention and a part of a third."""
    lengths, shared = [90, 70, 140, 30, 60], np.array([0, 50, 20, 0, 10])
    rows, _ = pack_rows([[0] * length for length in lengths], shared=shared if layout == "trees" else None)
    rows = replace(
        rows,
        input_ids=rows.input_ids.to(heads.device),
        position_ids=rows.position_ids.to(heads.device),
        subtree_end=rows.subtree_end.to(heads.device),
    )
    tensors = [tensor.to(dtype or heads.dtype).requires_grad_() for tensor in _queries_keys_values(heads, rows)]
    output_RTHD = _attend(kernel, heads, rows, _mask(kernel, rows), *tensors)
    # Of all sizes, so that a gradient that went to the wrong token shows.
    weights = torch.linspace(-1.0, 1.0, output_RTHD.numel(), device=heads.device).view_as(output_RTHD)
    gradients = torch.autograd.grad(output_RTHD, tensors, weights.to(output_RTHD.dtype))
    return output_RTHD.detach().float(), torch.cat([gradient.flatten().float() for gradient in gradients])


def _seconds(kernel: str, heads: Heads, rows: PackedRows) -> float:
    """Time of a model's attention: one mask, and each layer; infinite if memory does not suffice."""
    # The backbone's own attention, where that is none of transformers' functions, is about as fast as its sdpa or less.
    kernel = kernel if kernel in ALL_ATTENTION_FUNCTIONS else "sdpa"
    with_gradients = torch.is_grad_enabled()
    tensors = [tensor.to(heads.dtype).requires_grad_(with_gradients) for tensor in _queries_keys_values(heads, rows)]

    def attend(mask: Any) -> None:
        output = _attend(kernel, heads, rows, mask, *tensors)
        if with_gradients:
            torch.autograd.grad(output, tensors, torch.ones_like(output))

    try:
        mask = _mask(kernel, rows)
        of_mask = _shortest(lambda: _mask(kernel, rows), heads.device)
        return of_mask + heads.layers * _shortest(lambda: attend(mask), heads.device)
    except torch.OutOfMemoryError:
        return float("inf")


def _shortest(work: Callable[[], Any], device: torch.device) -> float:
    """Shortest time in seconds, after a first one in which kernels are compiled."""
    times = []
    for _ in range(1 + _TIMES):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def _queries_keys_values(heads: Heads, rows: PackedRows) -> list[Tensor]:
    """Random ``[R, H, T, D]``, ``[R, K, T, D]`` and ``[R, K, T, D]``, in float32."""
    generator = torch.Generator(heads.device).manual_seed(0)
    count, width = rows.input_ids.shape
    return [
        torch.randn(count, number, width, heads.width, device=heads.device, generator=generator)
        for number in (heads.queries, heads.keys, heads.keys)
    ]


def _mask(kernel: str, rows: PackedRows) -> Any:
    if kernel == "flash_attention_2":
        return None
    return block_mask(rows) if kernel == "flex_attention" else pair_mask(rows)


def _attend(kernel: str, heads: Heads, rows: PackedRows, mask: Any, *tensors: Tensor) -> Tensor:
    """One layer's attention as transformers calls it; ``[R, T, H, D]``."""
    layer = _layer(kernel, heads)
    attention: Callable[..., tuple[Tensor, Any]] = ALL_ATTENTION_FUNCTIONS[kernel]
    if kernel != "flash_attention_2":
        return attention(layer, *tensors, mask, dropout=0.0, scaling=heads.width**-0.5)[0]
    one_row = [tensor.transpose(0, 1).flatten(1, 2)[None] for tensor in tensors]
    positions = rows.position_ids.reshape(1, -1)
    flat = attention(layer, *one_row, None, dropout=0.0, scaling=heads.width**-0.5, position_ids=positions)[0]
    return flat.view(*rows.position_ids.shape, *flat.shape[2:])


def _layer(kernel: str, heads: Heads) -> Any:
    """All that transformers' functions read of the layer that calls them."""
    layer: Any = nn.Module()
    layer.num_key_value_groups = heads.queries // heads.keys
    layer.is_causal = True
    layer.config = SimpleNamespace(_attn_implementation=kernel)
    return layer.train(torch.is_grad_enabled())


@contextmanager
def _undisturbed(with_gradients: bool) -> Iterator[None]:
    """Tensors that are what they say, whatever the forward that asks is run under."""
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(with_gradients),
        torch.autocast("cuda", enabled=False),
        torch.autocast("cpu", enabled=False),
    ):
        yield
