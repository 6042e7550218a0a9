"""Low-rank adapters through ``peft``: small matrices are trained, the weights of the backbone stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from erprm.models.backbone.embeddings import embedding_weights
from erprm.models.backbone.sharded_loading import own_rows

_ADAPTER = "default"


@dataclass(frozen=True)
class LoRA:
    """Settings of low-rank adapters (arXiv 2106.09685), W + (alpha / r) B A: their layers and size.

    Attributes:
        r: rank of the adapters.
        alpha: their weight is ``alpha / r``.
        dropout: on what goes into the adapters, in [0, 1).
        target_modules: names of the linear layers that get one, such as ``[q_proj, v_proj]``; by default all in the
            decoder layers.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ValueError(f"lora.r is {self.r}; it must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"lora.dropout is {self.dropout}; it must be in [0, 1)")
        if self.target_modules is not None and not self.target_modules:
            raise ValueError("lora.target_modules is empty; name at least one layer, or leave it out for all")


def add_adapters(model: PreTrainedModel, lora: LoRA, *, train_embeddings: bool, in_float32: bool = True) -> None:
    """Freezes the model and puts adapters into it; :func:`initialise_adapters` gives them their first values.

    Args:
        model: any causal LM of transformers; its parameters may be on the meta device.
        lora: which and of what size.
        train_embeddings: train the input and output embeddings too, whole: there are tokens in them that have still
            to be learned.
        in_float32: adapters are float32 whatever the model is, so that small updates are not rounded away.

    Raises:
        ImportError: if peft is not installed.
        ValueError: if the model has no layer of the given names.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ImportError("model.lora needs peft: pip install 'erprm[lora]'") from error
    model.requires_grad_(False)
    model.add_adapter(
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules or "all-linear",
        ),
        _ADAPTER,
    )
    if in_float32:
        for layer in _adapted_layers(model):
            for adapter in (layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]):
                adapter.float()
    if train_embeddings:
        for weight in embedding_weights(model):
            weight.requires_grad_(True)


@torch.no_grad()
def initialise_adapters(model: nn.Module) -> None:
    """Draws the first matrix of each adapter, and sets the second to zero, as peft does.

    Every process draws the whole matrix, from the seed of torch's random numbers, and keeps what is its own: so a
    sharded model begins as one on a single process does.
    """
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for layer in _adapted_layers(model):
        first, second = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
        drawn = torch.empty(first.shape)
        nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
        start, stop = own_rows(first)
        _local(first).copy_(drawn[start:stop])
        _local(second).zero_()


def merged_state_dict(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights of the model without adapters, whose products have been added to the weights they adapt.

    Args:
        state_dict: weights of the model with adapters, whole.
        model: that model; only its structure is looked at.

    Returns:
        Weights under the names that they have without adapters.
    """
    merged = dict(state_dict)
    layers: dict[str, Any] = {name: part for name, part in model.named_modules() if part in _adapted_layers(model)}
    for name, layer in layers.items():
        first, second = (merged.pop(f"{name}.lora_{which}.{_ADAPTER}.weight") for which in "AB")
        change = (second.float() @ first.float()) * layer.scaling[_ADAPTER]
        weight = merged.pop(f"{name}.base_layer.weight")
        is_transposed = isinstance(layer.base_layer, Conv1D)
        merged[f"{name}.weight"] = (weight + (change.T if is_transposed else change)).to(weight.dtype)
        if (bias := merged.pop(f"{name}.base_layer.bias", None)) is not None:
            merged[f"{name}.bias"] = bias
    return merged


def trained_state_dict(state_dict: Mapping[str, Any], module: nn.Module) -> dict[str, Any]:
    """The weights of a module without those of its backbone that are not trained."""
    frozen = {
        n for n, parameter in module.named_parameters() if n.startswith("backbone.") and not parameter.requires_grad
    }
    return {name: tensor for name, tensor in state_dict.items() if name not in frozen}


def _adapted_layers(model: nn.Module) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [part for part in model.modules() if isinstance(part, LoraLayer)]


def _local(parameter: Tensor) -> Tensor:
    local: Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return local
