"""Loading of pretrained backbones and tokenizers, and what every module of the package does with its optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from erprm.data.packing import PackedRows
from erprm.models.attention import Attention, row_inputs
from erprm.models.deferred import NotDeferrableError, empty_causal_lm

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]
Dtype = Literal["float32", "bfloat16", "float16"]


class BackboneError(ValueError):
    """A backbone or tokenizer that cannot be loaded or does not fit."""


def load_tokenizer(path: str, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """Loads a tokenizer from a folder or the hub.

    Raises:
        BackboneError: if there is none; names the path.
    """
    _check_local(path, gguf_file)
    try:
        return AutoTokenizer.from_pretrained(path, **_gguf(gguf_file))
    except (OSError, ValueError) as error:
        raise BackboneError(f"no tokenizer could be loaded from {path!r}: {error}") from error


def load_causal_lm(
    path: str,
    gguf_file: str | None = None,
    *,
    dtype: Dtype = "float32",
    attn_implementation: Attention = "auto",
    empty: bool = False,
) -> PreTrainedModel:
    """Loads a causal language model from a folder or the hub; weights only as safetensors or GGUF.

    Args:
        path: the folder or the hub id.
        gguf_file: name of a GGUF file in it.
        dtype: type of the weights.
        attn_implementation: attention of transformers.
        empty: leave the weights out, on the meta device, if they can be loaded later
            (:class:`erprm.models.deferred.DeferredWeights`); else a warning says why they cannot.

    Raises:
        BackboneError: if there is none; names the path.
    """
    _check_local(path, gguf_file)
    settings: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "attn_implementation": None if attn_implementation == "auto" else attn_implementation,
    }
    try:
        if empty and gguf_file is None:
            try:
                return empty_causal_lm(path, **settings)
            except NotDeferrableError as error:
                rank_zero_warn(f"backbone: each process loads {path!r} whole: {error}")
        model = AutoModelForCausalLM.from_pretrained(
            path,
            **settings,
            **(_gguf(gguf_file) or {"use_safetensors": True}),
        )
    except (OSError, ValueError) as error:
        raise BackboneError(f"no causal language model could be loaded from {path!r}: {error}") from error
    if gguf_file:
        # The weights have been dequantized; transformers 5.19 would still refuse to save a model marked as GGUF.
        del model.hf_quantizer
        del model.config.quantization_config
    return model


def causal_lm_without_weights(path: str, gguf_file: str | None, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model as it is made anew; of a folder or hub id only the configuration is read.

    Raises:
        BackboneError: if there is none; names the path.
    """
    _check_local(path, gguf_file)
    try:
        config = AutoConfig.from_pretrained(path, **_gguf(gguf_file))
    except (OSError, ValueError) as error:
        raise BackboneError(f"no configuration of a model could be loaded from {path!r}: {error}") from error
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model


def _gguf(gguf_file: str | None) -> dict[str, Any]:
    return {"gguf_file": gguf_file} if gguf_file else {}


def _check_local(path: str, gguf_file: str | None) -> None:
    """Says what is wrong with a local path before the hub is asked for it."""
    if Path(path).is_absolute() or path.startswith("."):
        missing = Path(path) / gguf_file if gguf_file else Path(path)
        if not missing.exists():
            raise BackboneError(f"backbone: {str(missing)!r} does not exist")


def optimizer_with_schedule(
    module: L.LightningModule, optimizer: OptimizerFactory, scheduler: SchedulerFactory | None
) -> Any:
    """What ``configure_optimizers`` returns: the optimizer over trainable parameters, the schedule stepped each step.

    Raises:
        ValueError: if a schedule is asked for but the length of the training is not known.
    """
    built = optimizer([parameter for parameter in module.parameters() if parameter.requires_grad])
    if scheduler is None:
        return built
    return {
        "optimizer": built,
        "lr_scheduler": {"scheduler": scheduler(built, _optimizer_steps(module.trainer)), "interval": "step"},
    }


def _optimizer_steps(trainer: L.Trainer) -> int:
    total_steps = trainer.estimated_stepping_batches
    # To count the batches Lightning has begun to load them, from the first on: where a resumed run stands is restored
    # later (Lightning 2.6, issue 20550). Without its loader it makes another when training starts.
    trainer.fit_loop.teardown()
    trainer.fit_loop._combined_loader = None
    if math.isinf(total_steps):
        raise ValueError("a schedule needs to know the length of the training: set trainer.max_epochs or max_steps")
    return int(total_steps)


def logits_at(
    backbone: PreTrainedModel,
    rows: PackedRows,
    index: Tensor,
    *,
    tokens: Sequence[int] | None = None,
    attention: Attention = "auto",
) -> Tensor:
    """Next-token logits of a causal LM at a few places of packed rows.

    The forward is the backbone's own, hooks of sharding included; only the input of its output layer is cut down to
    the places asked for, so no tensor of all places by the vocabulary exists. Where the output layer is a plain linear
    one, only its rows of the tokens asked for are used, too; whatever the backbone does to logits afterwards (soft
    capping, scaling) it does to these.

    Args:
        backbone: a causal LM.
        rows: packed rows.
        index: places in the flattened rows ``[S]``.
        tokens: the tokens whose logits are wanted; ``None``: the whole vocabulary.
        attention: how solutions are kept apart (see :mod:`erprm.models.attention`).

    Returns:
        Logits ``[S, V]``, or ``[S, tokens]``.
    """
    head = backbone.get_output_embeddings()
    inputs = row_inputs(backbone, rows, attention)
    with _head_at(head, index, tokens) as is_narrowed:
        logits = cast(Tensor, backbone(**inputs).logits)
    logits = logits.flatten(0, -2)
    return logits if tokens is None or is_narrowed else logits[:, list(tokens)]


@contextmanager
def _head_at(head: nn.Module, index: Tensor, tokens: Sequence[int] | None) -> Iterator[bool]:
    """Lets an output layer see only some places and, if it can, make only some tokens' logits; yields whether it can.

    A layer whose forward is another than ``nn.Linear``'s (an adapter, quantised weights) makes all logits.
    """

    def keep_places(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].flatten(0, -2)[index],)

    def make_logits_of_tokens(hidden: Tensor) -> Tensor:
        assert isinstance(head, nn.Linear)
        chosen = torch.tensor(tokens, device=head.weight.device)
        return F.linear(hidden, head.weight[chosen], None if head.bias is None else head.bias[chosen])

    is_plain = type(head).forward is nn.Linear.forward and "forward" not in vars(head)
    can_narrow = tokens is not None and is_plain and not isinstance(head.weight, DTensor)
    hook = head.register_forward_pre_hook(keep_places)
    if can_narrow:
        # On the instance: a call of the module still runs its hooks, which gather the weights where these are sharded.
        head.forward = make_logits_of_tokens
    try:
        yield can_narrow
    finally:
        hook.remove()
        if can_narrow:
            del head.forward
