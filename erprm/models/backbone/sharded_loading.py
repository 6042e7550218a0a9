"""Backbones that are built without their weights, on the meta device, and filled once they are spread over processes.

So no process ever holds more of a large model than its own part of it: of every tensor it reads the rows that are its
own, straight from the safetensors files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping

from erprm.models.backbone.embeddings import ROWS_AT_ONCE, new_rows
from erprm.models.backbone.weight_files import WeightFiles


class NotDeferrableError(ValueError):
    """A checkpoint that has to be loaded whole; the message says why."""


def empty_causal_lm(path: str, *, dtype: torch.dtype, attn_implementation: str | None) -> PreTrainedModel:
    """A causal LM of transformers with parameters on the meta device, and buffers in place.

    Raises:
        NotDeferrableError: if its files do not hold its tensors one by one, under the names of its parameters.
        OSError: if there is no such checkpoint.
    """
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if getattr(config, "quantization_config", None) is not None:
        raise NotDeferrableError("its weights are quantized")
    files = WeightFiles.find(path)
    if files is None:
        raise NotDeferrableError("it has no safetensors files")
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attn_implementation, trust_remote_code=False
        )
    if get_model_conversion_mapping(model, add_legacy=False):
        raise NotDeferrableError(f"transformers converts weights of {type(model).__name__} as it loads them")
    for tensor in _empty_tensors(model):
        found = [name for name in tensor.names if name in files.shapes]
        if not found:
            raise NotDeferrableError(f"its files have no tensor named {tensor.names[0]!r}")
        if len(found) > 1:
            raise NotDeferrableError(f"its configuration ties {' and '.join(found)}, but its files hold both")
        shape = files.shapes[found[0]]
        if shape != tensor.shape:
            raise NotDeferrableError(
                f"{found[0]} is of shape {shape} in its files, of {tensor.shape} by its configuration"
            )
    _compute_buffers(model)
    model.name_or_path = path
    if model.can_generate():
        with contextlib.suppress(OSError):  # It may have none.
            model.generation_config = GenerationConfig.from_pretrained(path)
    model.eval()
    return model


@dataclass(frozen=True)
class _EmptyTensor:
    """A tensor on the meta device: its shape, and its names and where it is kept (more than one if it is tied)."""

    shape: tuple[int, ...]
    names: list[str]
    places: list[tuple[nn.Module, str]]

    def value(self) -> Tensor:
        """The value kept there now; the same in all places."""
        (owner, attribute), *others = self.places
        tensor: Tensor = getattr(owner, attribute)
        for other, name in others:
            if getattr(other, name) is not tensor:
                setattr(other, name, tensor)
        return tensor


def _empty_tensors(model: nn.Module) -> list[_EmptyTensor]:
    found: dict[int, _EmptyTensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_meta:
            module, _, attribute = name.rpartition(".")
            empty = found.setdefault(id(tensor), _EmptyTensor(tuple(tensor.shape), [], []))
            empty.names.append(name)
            empty.places.append((model.get_submodule(module), attribute))
    return list(found.values())


class DeferredWeights:
    """Weights that are still to be loaded into a model.

    Made before the model is changed (adapters, sharding), it knows the tensors by their original names and finds them
    in their new places.
    """

    def __init__(self, model: nn.Module, path: str) -> None:
        """Notes the tensors on the meta device.

        Args:
            model: the model.
            path: folder or hub id of its weights.

        Raises:
            ValueError: if a tensor is not in the files, or has another shape there.
        """
        self._source_of: dict[str, _EmptyTensor] = {}
        empty = _empty_tensors(model)
        self._files = WeightFiles.find(path) if empty else None
        for tensor in empty:
            shapes = self._files.shapes if self._files is not None else {}
            name = next((name for name in tensor.names if name in shapes), None)
            if name is None:
                raise ValueError(f"backbone: the safetensors files of {path!r} have no tensor {tensor.names[0]!r}")
            shape = shapes[name]
            # Rows may be lacking for tokens that were added.
            if shape[1:] != tensor.shape[1:] or shape[:1] > tensor.shape[:1]:
                raise ValueError(f"backbone: {name} is of shape {shape} in {path!r}; the model takes {tensor.shape}")
            self._source_of[name] = tensor

    @torch.no_grad()
    def load(self, model: nn.Module, device: torch.device) -> None:
        """Gives the tensors memory on a device and fills them, of a sharded one the rows of this process."""
        model._apply(lambda tensor: torch.empty_like(tensor, device=device) if tensor.is_meta else tensor)
        if self._files is None:
            return
        values = {name: tensor.value() for name, tensor in self._source_of.items()}
        self._files.load(values)
        for name, value in values.items():
            if value.shape != self._files.shapes[name]:
                self._add_rows(value, name, self._files)

    @staticmethod
    def _add_rows(value: Tensor, name: str, files: WeightFiles) -> None:
        """Fills the rows that the file of a tensor lacks."""
        known = files.shapes[name][0]
        start, stop = own_rows(value)
        if stop > known:
            local = value.to_local() if isinstance(value, DTensor) else value
            added = new_rows(files.parts(name, ROWS_AT_ONCE), len(value) - known)
            begin = max(start, known)
            local[begin - start :] = added[begin - known : stop - known].to(local.device)


def own_rows(tensor: Tensor) -> tuple[int, int]:
    """First and last (exclusive) row that this process has of a tensor, all of them if it is not sharded.

    ``fully_shard`` gives each process the same number of rows, rounded up; the last ones may have fewer, or none.
    """
    start, stop = 0, len(tensor)
    if isinstance(tensor, DTensor):
        for dimension, placement in enumerate(tensor.placements):
            if isinstance(placement, Shard):
                each = -(-len(tensor) // tensor.device_mesh.size(dimension))
                start = min(each * tensor.device_mesh.get_local_rank(dimension), len(tensor))
                stop = min(start + each, len(tensor))
    return start, stop


def _compute_buffers(model: PreTrainedModel) -> None:
    """Puts those buffers in place that no file holds (frequencies of rotary embeddings, for one).

    Raises:
        NotDeferrableError: if transformers does not compute one of them anew.
    """
    for module, name in _unsaved_buffers(model):
        shape_only: Tensor = getattr(module, name)
        if not shape_only.is_floating_point():
            raise NotDeferrableError(f"the buffer {name!r} of its {type(module).__name__} is not of floating point")
        setattr(module, name, torch.full_like(shape_only, torch.nan, device="cpu"))
    for module in {module for module, _ in _unsaved_buffers(model)}:
        # As transformers does after it has loaded weights. Parameters of the module are on the meta device, where
        # initialisation does nothing.
        model._init_weights(module)
    for module, name in _unsaved_buffers(model):
        if getattr(module, name).isnan().any():
            raise NotDeferrableError(f"the buffer {name!r} of its {type(module).__name__} is computed with the weights")


def _unsaved_buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in model.modules():
        for name in sorted(module._non_persistent_buffers_set):
            if module._buffers.get(name) is not None:
                yield module, name
