"""Attention of new tokens in which query heads read the keys and values they share together.

The ``sdpa`` of transformers 5.19 copies the cache for each query head of a group where there is a mask, at every token.
A new token sees the same tokens with every head, so the heads of a group can stand where several query tokens would,
and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED = "erprm_grouped"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The same as ``sdpa`` of transformers, in evaluation mode.

    Args:
        module: the attention layer.
        query: ``[rows, query heads, new tokens, dimension]``.
        key: ``[rows, key heads, tokens, dimension]``.
        value: the same.
        attention_mask: which tokens are seen, ``[rows, 1 or query heads, new tokens, tokens]``; by default all.
        scaling: of the products of queries and keys.
        position_bias: of layers that add one to these products.
        kwargs: what else ``sdpa`` takes.

    Returns:
        ``[rows, new tokens, query heads, dimension]``.
    """
    rows, heads, new_tokens, _ = query.shape
    key_heads = key.shape[1]
    differs_by_head = position_bias is not None or (attention_mask is not None and attention_mask.shape[1] > 1)
    if heads == key_heads or new_tokens > 1 or differs_by_head:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, position_bias=position_bias, **kwargs
        )
        return output, None
    groups = query.reshape(rows, key_heads, heads // key_heads, -1)
    output = scaled_dot_product_attention(groups, key, value, attn_mask=attention_mask, scale=scaling)
    return output.reshape(rows, 1, heads, -1), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


@contextmanager
def heads_grouped(model: PreTrainedModel) -> Iterator[None]:
    """Within it, a model that uses ``sdpa`` uses :func:`grouped_attention`."""
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        yield
        return
    model.set_attn_implementation(GROUPED)
    try:
        yield
    finally:
        model.set_attn_implementation("sdpa")
