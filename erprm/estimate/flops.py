"""Cost of a batch: the arithmetic that a decoder needs for it, counted from its shapes.

A weight of a linear layer costs a multiplication and an addition for each token in the forward pass, and twice as much
in the backward pass (once for the gradient of its input, once for its own, if it is trained). Attention costs two
products of the width of all heads for each pair of a token and one it reads. Norms, rotations and activations are left
out, as is the output layer, which is computed at the step tags alone.

Shape suffixes: R rows of T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from erprm.data.packing import PackedRows


@dataclass(frozen=True)
class TokenFlops:
    """Floating-point operations of a forward pass, or of a forward and a backward pass.

    Attributes:
        weights: for one token, in the linear layers.
        pair: for one pair of a token and a token it reads (itself included), in the attention of all layers.
    """

    weights: int
    pair: int

    def total(self, tokens: int, pairs: int) -> int:
        """Operations of some tokens that read ``pairs`` tokens in all."""
        return self.weights * tokens + self.pair * pairs


def token_flops(backbone: PreTrainedModel, *, backward: bool = True) -> TokenFlops:
    """The cost of a token of a decoder, sharded or not.

    Args:
        backbone: a transformers model with a stack of attention layers.
        backward: with the backward pass.
    """
    head = backbone.get_output_embeddings()
    linear = [module for module in backbone.modules() if isinstance(module, nn.Linear) and module is not head]
    weights = sum(
        module.weight.numel() * (2 if not backward else 6 if module.weight.requires_grad else 4) for module in linear
    )
    config = backbone.config.get_text_config()
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    # Forward: scores and weighted values, 2 operations each; backward: twice as much.
    return TokenFlops(weights, (12 if backward else 4) * config.num_hidden_layers * heads * head_dim)


def rows_cost(rows: PackedRows) -> Tensor:
    """The tokens of packed rows, padding aside, and the pairs of a token and a token that it reads.

    Returns:
        Two integers ``[2]``, on the device of the rows: asking for their values would wait for it.
    """
    place = torch.arange(rows.subtree_end.shape[1], device=rows.subtree_end.device)
    is_padding_RT = (rows.position_ids == 0) & (rows.subtree_end == place + 1)
    tokens_read = (rows.position_ids + 1).masked_fill(is_padding_RT, 0)
    return torch.stack([(~is_padding_RT).sum(), tokens_read.sum()])
