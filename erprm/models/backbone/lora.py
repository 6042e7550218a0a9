"""Low-rank adapters through ``peft``: small matrices are trained, the weights of the backbone stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from erprm.engines.registry import require_package
from erprm.models.backbone.embeddings import embedding_weights
from erprm.models.backbone.lora_settings import LoRA as LoRA
from erprm.models.backbone.sharded_loading import own_rows

if TYPE_CHECKING:
    from peft import LoraConfig

_ADAPTER = "default"


def peft_config(lora: LoRA, task_type: str | None = None) -> LoraConfig:
    """The settings as peft has them; a type of task is needed where peft wraps the model.

    Raises:
        ImportError: if peft is not installed.
    """
    require_package("peft")
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules or "all-linear",
        task_type=task_type,
    )


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
    config = peft_config(lora)
    model.requires_grad_(False)
    model.add_adapter(config, _ADAPTER)
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
    """The whole weights of the model without adapters, whose products have been added to the weights they adapt.

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
