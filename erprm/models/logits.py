"""Next-token logits and losses of a causal LM, at the places that a step's judgement or a token's loss needs.

Shape suffixes: S places, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from erprm.data.packing import PackedRows
from erprm.models.attention.kernels import Attention, row_inputs

log = logging.getLogger(__name__)

_LOGITS_AT_ONCE = 2**24
"""Logits that exist at a time while losses over the vocabulary are computed: 64 MiB in float32."""


def logits_at(
    backbone: PreTrainedModel,
    rows: PackedRows,
    index: Tensor,
    *,
    tokens: Sequence[int] | None = None,
    attention: Attention = "auto",
) -> Tensor:
    """Next-token logits of a causal LM at a few places of packed rows.

    The forward is the backbone's own, hooks of sharding included; what its last layers read is cut down to the places
    asked for, so no tensor of all places by the vocabulary exists. Where the output layer is a plain linear one, only
    its rows of the tokens asked for are used, too, in float32 even if the backbone computes in half precision; whatever
    the backbone does to logits afterwards (soft capping, scaling) it does to these.

    Args:
        backbone: a causal LM.
        rows: packed rows.
        index: places in the flattened rows ``[S]``.
        tokens: the tokens whose logits are wanted; ``None``: the whole vocabulary.
        attention: how solutions are kept apart (see :mod:`erprm.models.attention.kernels`).

    Returns:
        Logits ``[S, V]``, or ``[S, tokens]``.
    """
    head = backbone.get_output_embeddings()
    inputs = row_inputs(backbone, rows, attention)
    with _last_mlp_at(backbone, index), _head_at(head, index, tokens) as head_at:
        logits = cast(Tensor, backbone(**inputs).logits)
    logits = logits.flatten(0, -2)
    return logits if tokens is None or head_at.is_narrowed else logits[:, list(tokens)]


def cross_entropy_at(
    backbone: PreTrainedModel,
    rows: PackedRows,
    index: Tensor,
    targets: Tensor,
    *,
    attention: Attention = "auto",
    temperature: float = 1.0,
    logits_at_once: int = _LOGITS_AT_ONCE,
) -> Tensor:
    """Cross-entropy of next tokens, without a tensor of all places by the vocabulary.

    The output layer itself computes the losses, some places at a time, and their logits again in the backward pass. It
    runs within the backbone's forward, so hooks of sharding see nothing unusual. A backbone that does something to its
    logits afterwards (soft capping, scaling) is found out at its first call, and keeps all its logits.

    Args:
        backbone: a causal LM.
        rows: packed rows.
        index: places in the flattened rows ``[S]``.
        targets: the tokens that follow them ``[S]``.
        attention: how solutions are kept apart (see :mod:`erprm.models.attention.kernels`).
        temperature: divides the logits.
        logits_at_once: the most logits to hold at a time.

    Returns:
        Losses in nats ``[S]``, in float32.
    """
    if _ends_with_its_head.get(backbone, True):
        head = backbone.get_output_embeddings()
        vocabulary = backbone.config.get_text_config().vocab_size
        losses: list[Tensor] = []
        with (
            _last_mlp_at(backbone, index),
            _head_at(head, index, None),
            _head_as_loss(head, targets, temperature, max(1, logits_at_once // vocabulary), losses),
        ):
            found = cast(Tensor, backbone(**row_inputs(backbone, rows, attention)).logits).flatten()
        if backbone not in _ends_with_its_head:
            _ends_with_its_head[backbone] = bool(torch.equal(found, losses[0].flatten()))
        if _ends_with_its_head[backbone]:
            return found.float()
        log.warning(
            "%s changes its logits after the output layer: losses take memory for all logits of a batch",
            type(backbone).__name__,
        )
    logits_SV = logits_at(backbone, rows, index, attention=attention)
    return F.cross_entropy(logits_SV.float() / temperature, targets, reduction="none")


# Whether the logits of a backbone are what its output layer returns.
_ends_with_its_head: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@contextmanager
def _head_as_loss(
    head: nn.Module, targets: Tensor, temperature: float, places: int, losses: list[Tensor]
) -> Iterator[None]:
    """Lets an output layer return losses ``[1, S, 1]``, made of so many places at a time; ``losses`` gets them."""
    logits_of = head.forward
    is_own = "forward" in vars(head)

    def losses_of(hidden_SD: Tensor, targets_S: Tensor) -> Tensor:
        return F.cross_entropy(logits_of(hidden_SD).float() / temperature, targets_S, reduction="none")

    def forward(hidden_SD: Tensor) -> Tensor:
        parts = list(zip(hidden_SD.split(places), targets.split(places), strict=True))
        if len(parts) == 1 or not torch.is_grad_enabled():
            found = [losses_of(*part) for part in parts]
        else:
            found = [checkpoint(losses_of, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        losses.append(torch.cat(found)[None, :, None])
        return losses[0]

    head.forward = forward
    try:
        yield
    finally:
        if is_own:
            head.forward = logits_of
        else:
            del head.forward


@dataclass
class _HeadAt:
    """Notes on the forward of an output layer within :func:`_head_at`."""

    is_narrowed: bool = False


@contextmanager
def _head_at(head: nn.Module, index: Tensor, tokens: Sequence[int] | None) -> Iterator[_HeadAt]:
    """Lets an output layer see only some places and, if it can, make only some tokens' logits.

    A layer whose forward is another than ``nn.Linear``'s (an adapter, quantised weights) makes all logits, as does one
    whose weights are still split over processes when it runs. FSDP2 has gathered them by then.
    """
    seen = _HeadAt()
    logits_of = head.forward

    def keep_places(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, -2)[index],)

    def make_logits_of_tokens(hidden: Tensor) -> Tensor:
        assert isinstance(head, nn.Linear)
        if isinstance(head.weight, DTensor):
            return cast(Tensor, logits_of(hidden))
        seen.is_narrowed = True
        chosen = torch.tensor(tokens, device=head.weight.device)
        # Scores depend on the difference of two logits, which bfloat16 rounds to eighths where they are 16 to 32.
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        bias = None if head.bias is None else head.bias[chosen].to(dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.to(dtype), head.weight[chosen].to(dtype), bias)

    is_plain = type(head).forward is nn.Linear.forward and "forward" not in vars(head)
    can_narrow = tokens is not None and is_plain
    hook = head.register_forward_pre_hook(keep_places)
    if can_narrow:
        # On the instance: a call of the module still runs its hooks, which gather the weights where these are sharded.
        head.forward = make_logits_of_tokens
    try:
        yield seen
    finally:
        hook.remove()
        if can_narrow:
            del head.forward


@contextmanager
def _last_mlp_at(backbone: PreTrainedModel, index: Tensor) -> Iterator[None]:
    """Lets the MLP of the last decoder layer see only some places; elsewhere, where nothing reads on, it gives zeros.

    Left out where the layer is compiled, or run again in the backward pass, when the hooks are gone.
    """
    mlp = None if backbone.is_gradient_checkpointing else _last_mlp(backbone)
    if mlp is None:
        yield
        return
    # Solutions that share a step share its place; it is computed once, so that gradients are counted once. Tensors
    # without content, which only a dry step has, cannot be looked through.
    places = index if is_fake(index) else index.unique()
    shape: list[torch.Size] = []

    def gather(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shape.append(inputs[0].shape)
        return (inputs[0].flatten(0, -2)[places][None],)

    def scatter(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        nothing = output.new_zeros(shape[0].numel() // output.shape[-1], output.shape[-1])
        return nothing.index_copy(0, places, output[0]).view(shape[0])

    hooks = [mlp.register_forward_pre_hook(gather), mlp.register_forward_hook(scatter)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_mlp(backbone: PreTrainedModel) -> nn.Module | None:
    """The dense MLP of the last decoder layer, where there is one that no other layer shares."""
    *others, last = getattr(backbone.get_decoder(), "layers", [None])
    mlp = getattr(last, "mlp", None)
    is_dense = isinstance(mlp, nn.Module) and any(isinstance(part, nn.Linear) for part in mlp.children())
    is_compiled = getattr(last, "_compiled_call_impl", None) is not None
    is_shared = any(getattr(layer, "mlp", None) is mlp for layer in others)
    return None if is_compiled or is_shared or not is_dense else mlp
