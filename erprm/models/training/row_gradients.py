"""Gradients of a few rows of a large weight, added to what the weight has already.

A batch reads a few hundred rows of the embedding and two of the output layer. Autograd makes a gradient of the size of
the whole vocabulary for each of these uses, zero but for those rows, and adds it up. Here the rows' gradients go where
they belong directly. Nothing else sees them on their way, so this is for training on one process: wrappers that reduce
gradients between processes wait for the whole ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake


class _Rows(torch.autograd.Function):
    """Rows of a leaf tensor, whose gradient is added to ``grad`` of the leaf."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, index: Tensor, padding: int | None) -> Tensor:
        ctx.weight, ctx.padding = weight, padding
        ctx.save_for_backward(index)
        return F.embedding(index, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        (gradient,), (index,), weight = gradients, ctx.saved_tensors, ctx.weight
        if ctx.padding is not None:
            gradient = gradient.masked_fill((index == ctx.padding).unsqueeze(-1), 0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        rows, gradient = index.flatten(), gradient.flatten(0, -2).to(weight.dtype)
        # Tensors without content, which only a dry step has, cannot be looked through.
        if not is_fake(rows):
            # What one row gets is summed first, as autograd does: then the rounding is the same.
            rows, place = rows.unique(return_inverse=True)
            gradient = gradient.new_zeros(len(rows), gradient.shape[-1]).index_add_(0, place, gradient)
        weight.grad.index_add_(0, rows, gradient)
        return None, None, None


def rows_of(weight: Tensor, index: Tensor, padding: int | None = None) -> Tensor:
    """Rows of a weight that is trained.

    Args:
        weight: a leaf that requires a gradient ``[N, D]``.
        index: which rows, of any shape.
        padding: a row that gets no gradient.

    Returns:
        ``[*index.shape, D]``.
    """
    taken: Tensor = _Rows.apply(weight, index, padding)  # type: ignore[no-untyped-call]
    return taken


def takes_rows(weight: Tensor) -> bool:
    """Whether :func:`rows_of` does for a weight: it is trained, on this process alone, and no hook waits for it."""
    is_alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
    is_plain = type(weight) is nn.Parameter or is_fake(weight)
    is_watched = weight._backward_hooks or getattr(weight, "_post_accumulate_grad_hooks", None)
    return is_alone and is_plain and not is_watched and weight.requires_grad and torch.is_grad_enabled()


@contextmanager
def embedding_by_rows(layer: nn.Module) -> Iterator[None]:
    """Lets an embedding layer add the gradients of its rows directly, if it is a plain one."""
    if type(layer).forward is not nn.Embedding.forward or "forward" in vars(layer):
        yield
        return
    embedding = cast(nn.Embedding, layer)
    does_more = embedding.max_norm is not None or embedding.sparse or embedding.scale_grad_by_freq
    if does_more or not takes_rows(embedding.weight):
        yield
        return
    # On the instance: a call of the module still runs its hooks.
    layer.forward = lambda index: rows_of(embedding.weight, index, embedding.padding_idx)
    try:
        yield
    finally:
        del layer.forward
