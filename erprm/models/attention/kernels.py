"""Attention over packed rows, in which every token sees its own path through the row and nothing else.

==================  ==============================================  ==========================================
kernel              keeps apart                                     by
==================  ==============================================  ==========================================
sdpa, eager         trees, rows                                     a mask of all pairs of a row's tokens
flex_attention      trees, rows (CUDA; unverified)                  a block mask, whose empty blocks are skipped
flash_attention_2   rows (CUDA; unverified)                         sequence lengths, read off the positions
any                 one solution a row                              its causality: padding stands at the end
==================  ==============================================  ==========================================

``auto`` takes, on CUDA, ``flex_attention`` for trees and ``flash_attention_2``, where it is installed, for rows; on a
CPU ``sdpa`` once for each run of tokens (:mod:`erprm.models.attention.paths`), which computes no pair of tokens of
different solutions, where the backbone has ``sdpa``, layers that are not compiled, and no sliding window narrower than
a row. Everywhere else, and for one solution a row, it takes what the backbone was built with, which is ``sdpa`` where
it has that.

Shape suffixes: R rows, T tokens of a row (Q as queries, K as keys).
"""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from transformers import PreTrainedModel
from transformers.utils.import_utils import is_flash_attn_2_available

from erprm.data.packing import Layout, PackedRows
from erprm.errors import InputError
from erprm.models.attention.paths import PATHS
from erprm.models.choices import Attention as Attention

ATTENTIONS = get_args(Attention)
ONE_SOLUTION_A_ROW = "set data.row_tokens and model.score_row_tokens to 1, which gives each solution a row of its own"


class AttentionError(InputError):
    """A layout of rows that a backbone, or an attention kernel, cannot keep apart."""


def choose_kernel(attention: Attention, layout: Layout, device: torch.device, present: str) -> str:
    """The attention kernel for rows of one layout, by its name in transformers.

    Args:
        attention: the setting.
        layout: of the rows.
        device: they are on.
        present: the kernel that the backbone was built with, or used last.

    Raises:
        AttentionError: if the kernel asked for cannot keep such rows apart.
    """
    if attention == "auto":
        if device.type == "cuda" and layout != "single":
            return "flash_attention_2" if layout == "rows" and is_flash_attn_2_available() else "flex_attention"
        present = "sdpa" if present in ("flex_attention", "flash_attention_2", PATHS) else present
        return PATHS if present == "sdpa" and device.type == "cpu" and layout != "single" else present
    if attention == "flash_attention_2" and layout == "trees":
        raise AttentionError(
            "model.attn_implementation is 'flash_attention_2', which cannot keep apart solutions that share tokens: "
            "set data.packing and model.score_packing to rows, or attn_implementation to auto"
        )
    return attention


def row_inputs(backbone: PreTrainedModel, rows: PackedRows, attention: Attention = "auto") -> dict[str, Any]:
    """The arguments of a backbone's forward for packed rows; makes the backbone use the kernel they are meant for.

    Args:
        backbone: a causal LM of transformers.
        rows: what it is to read.
        attention: see the module's table.

    Raises:
        AttentionError: if backbone or kernel cannot keep the rows apart.
    """
    config = backbone.config.get_text_config()
    kernel = choose_kernel(attention, rows.layout, rows.input_ids.device, config._attn_implementation)
    if kernel == PATHS and not _can_follow_paths(backbone, rows):
        kernel = "sdpa"
    if config._attn_implementation != kernel:
        backbone.set_attn_implementation(kernel)
    inputs: dict[str, Any] = {"input_ids": rows.input_ids, "use_cache": False}
    if rows.layout == "single" and kernel != "flex_attention":
        # A backbone left to count positions by itself takes its causal kernels, which need no mask.
        return inputs
    if kernel == "flash_attention_2":
        # transformers finds the sequences of a batch of one row by their positions.
        flat = {"input_ids": rows.input_ids, "position_ids": rows.position_ids}
        return inputs | {name: tensor.reshape(1, -1) for name, tensor in flat.items()}
    mask = rows.position_ids[:, None, None] if kernel == PATHS else _masks(backbone, rows, kernel)
    return inputs | {"position_ids": rows.position_ids, "attention_mask": mask}


def _can_follow_paths(backbone: PreTrainedModel, rows: PackedRows) -> bool:
    """True if :mod:`erprm.models.attention.paths` can handle these rows.

    Compiled layers take the mask, which leaves them whole; tensors without content have no runs.
    """
    window = getattr(backbone.config.get_text_config(), "sliding_window", None)
    reaches = window is None or rows.input_ids.shape[1] <= window
    layers = getattr(backbone.get_decoder(), "layers", ())
    is_compiled = any(getattr(layer, "_compiled_call_impl", None) is not None for layer in layers)
    return reaches and not is_compiled and backbone._can_set_attn_implementation() and not is_fake(rows.position_ids)


def sees(subtree_end_K: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """True if a token (by its place in the row) sees another: itself, and those whose subtree it lies in."""
    return (key <= query) & (query < subtree_end_K)


def pair_mask(rows: PackedRows, window: int | None = None) -> Tensor:
    """Mask of the pairs of tokens in a row that see each other.

    Args:
        rows: packed rows.
        window: sliding window: tokens see only what lies fewer positions back; ``None``: all of it.

    Returns:
        ``[R, 1, Q, K]``, bool.
    """
    place = torch.arange(rows.subtree_end.shape[1], device=rows.subtree_end.device)
    mask_RQK = sees(rows.subtree_end[:, None, :], place[:, None], place)
    if window is not None:
        mask_RQK &= rows.position_ids[:, :, None] - rows.position_ids[:, None, :] < window
    return mask_RQK[:, None]


def block_mask(rows: PackedRows, window: int | None = None) -> Any:
    """The same as :func:`pair_mask`, as a ``BlockMask`` for ``flex_attention``."""
    from torch.nn.attention.flex_attention import create_block_mask

    subtree_end, position = rows.subtree_end, rows.position_ids

    def mask_mod(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = sees(subtree_end[row, key], query, key)
        if window is not None:
            seen = seen & (position[row, query] - position[row, key] < window)
        return seen

    count, width = subtree_end.shape
    return create_block_mask(mask_mod, count, None, width, width, device=subtree_end.device)


def _masks(backbone: PreTrainedModel, rows: PackedRows, kernel: str) -> Any:
    """One mask, or for backbones whose layers differ one for each type of layer, by its name in transformers."""
    config = backbone.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    layer_types = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    if unknown := layer_types - {"full_attention", "sliding_attention"}:
        raise AttentionError(
            f"{type(backbone).__name__} has layers of type {', '.join(sorted(unknown))}, which do not keep the "
            f"solutions of a row apart: {ONE_SOLUTION_A_ROW}"
        )
    # A window wider than the row hides nothing.
    hides = window is not None and rows.input_ids.shape[1] > window
    masks: dict[int | None, Any] = {}
    for reach in {window if hides and kind == "sliding_attention" else None for kind in layer_types}:
        masks[reach] = block_mask(rows, reach) if kernel == "flex_attention" else pair_mask(rows, reach)
        if kernel == "eager":
            masks[reach] = _additive(masks[reach], backbone.dtype)
    of_type = {kind: masks[window if hides and kind == "sliding_attention" else None] for kind in layer_types}
    return of_type if len(of_type) > 1 else of_type.popitem()[1]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a token is seen, the lowest number where it is not: what eager attention adds to its scores."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)
