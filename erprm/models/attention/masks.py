"""Attention masks under which no solution of a packed row sees another.

Shape suffixes: R rows; in a mask Q is a token as query, K as key.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from erprm.data.packing import PackedRows
from erprm.errors import InputError

ONE_SOLUTION_A_ROW = "set data.row_tokens and model.score_row_tokens to 1, which gives each solution a row of its own"


class AttentionError(InputError):
    """A layout of rows that a backbone, or an attention kernel, cannot keep apart."""


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


def backbone_masks(backbone: PreTrainedModel, rows: PackedRows, kernel: str) -> Any:
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
