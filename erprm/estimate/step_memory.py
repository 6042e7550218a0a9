"""Memory that training needs, found without training: one optimizer step on tensors with shapes but no content.

The step is the module's own, under torch's ``FakeTensorMode``, so that gradient checkpointing, adapters, packing and
the loss count as they will; no weight is loaded and nothing is allocated.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from erprm.data.packing import StepBatch
from erprm.estimate.flops import TokenFlops, token_flops
from erprm.models.backbone.loading import BackboneError, causal_lm_without_weights
from erprm.models.backbone.module import BackboneModule
from erprm.models.process_reward import ProcessRewardModel


@dataclass(frozen=True)
class BatchShape:
    """The size of a batch, as it is laid out.

    Attributes:
        rows: rows of the batch.
        row_tokens: tokens of a row.
        steps: scored steps of the batch.
    """

    rows: int
    row_tokens: int
    steps: int


@dataclass(frozen=True)
class StepNeeds:
    """Needs of an optimizer step on a device that holds the whole model; memory in bytes.

    Attributes:
        parameters: weights of the model.
        trained: those of them that are trained.
        weights: memory of weights and buffers.
        optimizer: memory of the optimizer's states.
        gradients: memory of all gradients.
        passes: memory that forward and backward pass need beside weights and states, at their peak: what the forward
            pass keeps, intermediate results, the gradients that are there by then, the batch and its mask.
        passes_onto_gradients: the same if gradients are there already, and without these: of one to be added, only
            that of a layer is there at a time.
        update: memory of everything while the optimizer changes the weights, all gradients included.
        largest_block: memory of the largest block of weights that sharding gathers at a time.
        flops: arithmetic of a token.
    """

    parameters: int
    trained: int
    weights: int
    optimizer: int
    gradients: int
    passes: int
    passes_onto_gradients: int
    update: int
    largest_block: int
    flops: TokenFlops

    def memory(self, shards: int = 1, *, accumulates: bool = False) -> int:
        """Bytes on each of ``shards`` devices that share weights, gradients and optimizer states evenly.

        Where there is more than one, gradients are passed on layer by layer, and two blocks of weights are gathered at
        a time: the one in use and the next.

        Args:
            shards: number of devices that share one copy of the weights.
            accumulates: whether gradients of several batches are accumulated, so that they are there all the time.
        """
        if shards == 1 and not accumulates:
            return max(self.weights + self.optimizer + self.passes, self.update)
        gathered = 2 * self.largest_block if shards > 1 else 0
        kept = (self.weights + self.optimizer + self.gradients) / shards
        return round(max(kept + self.passes_onto_gradients + gathered, self.update / shards))


def dry_step(module: ProcessRewardModel, shape: BatchShape, precision: str = "32-true") -> StepNeeds:
    """Finds out what an optimizer step of a module with one batch needs.

    Args:
        module: with its settings, and without a backbone: it gets one without content, and is of no use afterwards.
        shape: size of the batch.
        precision: Lightning's name for it: ``32-true``, ``bf16-mixed``, ``16-mixed``, ``bf16-true`` or ``16-true``.

    Raises:
        BackboneError: if the backbone's configuration cannot be loaded, or the module has a ``build_backbone`` of its
            own, which could not be called without loading weights.
    """
    if type(module).build_backbone is not BackboneModule.build_backbone:
        raise BackboneError(
            f"{type(module).__name__} has its own build_backbone; only backbones that ProcessRewardModel itself "
            "builds can be estimated"
        )
    dtype = {"bf16-true": "bfloat16", "16-true": "float16"}.get(precision, module.dtype_name)
    with torch.device("meta"):
        backbone = causal_lm_without_weights(module.backbone_path, module.gguf_file, getattr(torch, dtype))
        module.set_up_backbone(backbone, load=False)
    with FakeTensorMode():
        _move_off_meta(backbone)
        module.train()
        batch = make_batch(shape)
        optimizer = module.optimizer_factory([p for p in module.parameters() if p.requires_grad])

        def passes() -> None:
            with _autocast(precision):
                loss = module.logits_and_losses(batch)[1].mean()
            loss.backward()

        def update() -> None:
            optimizer.step()
            optimizer.zero_grad()

        # The first step makes the optimizer's states.
        passes()
        update()
        states = _bytes(tree_leaves(dict(optimizer.state)))
        weights = _bytes(chain(backbone.parameters(), backbone.buffers()))
        there = [
            *backbone.parameters(),
            *backbone.buffers(),
            *tree_leaves(dict(optimizer.state)),
            *vars(batch).values(),
        ]
        with PeakMemory(there) as of_passes:
            passes()
        there += (parameter.grad for parameter in module.parameters())
        gradients = _bytes(parameter.grad for parameter in module.parameters())
        with PeakMemory(there) as of_passes_onto_gradients:
            passes()
        with PeakMemory(there) as of_update:
            update()
        return StepNeeds(
            parameters=sum(parameter.numel() for parameter in backbone.parameters()),
            trained=sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad),
            weights=weights,
            optimizer=states,
            gradients=gradients,
            passes=of_passes.peak - weights - states,
            passes_onto_gradients=of_passes_onto_gradients.peak - weights - states - gradients,
            update=of_update.peak,
            largest_block=max(_bytes(block.parameters()) for block in _blocks(module)),
            flops=token_flops(backbone),
        )


def _move_off_meta(model: nn.Module) -> None:
    """Puts tensors without content on the CPU in place of those on the meta device, tied ones in several places."""
    moved: dict[int, Any] = {}
    for part in model.modules():
        kept: dict[str, Any]
        for kept in (part._parameters, part._buffers):
            for name, tensor in kept.items():
                if tensor is None:
                    continue
                if id(tensor) not in moved:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    moved[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
                kept[name] = moved[id(tensor)]


def _blocks(module: ProcessRewardModel) -> list[nn.Module]:
    """Units that sharding gathers at a time: each decoder layer, and the rest of the model, mostly the embeddings."""
    assert module.backbone is not None
    layers = [part for part in module.backbone.modules() if type(part) in module.layer_classes()]
    in_layers = {id(parameter) for layer in layers for parameter in layer.parameters()}
    rest = nn.ParameterList(p for p in module.backbone.parameters() if id(p) not in in_layers)
    return [*layers, rest]


def make_batch(shape: BatchShape) -> StepBatch:
    """A batch of that size, in whose rows one solution takes all tokens."""
    place = torch.arange(shape.row_tokens).repeat(shape.rows, 1)
    steps = torch.zeros(shape.steps, dtype=torch.long)
    return StepBatch(
        input_ids=torch.zeros_like(place),
        position_ids=place,
        subtree_end=torch.full_like(place, shape.row_tokens),
        layout="rows",
        tag_index=steps,
        labels=torch.zeros(shape.steps),
        solution=steps,
        problem=steps,
        counts=torch.ones(shape.steps, 2),
    )


def _autocast(precision: str) -> AbstractContextManager[None]:
    if not precision.endswith("-mixed"):
        return nullcontext()
    return torch.autocast("cpu", torch.bfloat16 if precision.startswith("bf16") else torch.float16)


class PeakMemory(TorchDispatchMode):
    """Counts the memory of tensors that are alive at the same time while it is entered.

    Attributes:
        peak: bytes at most.
    """

    def __init__(self, there_before: Iterable[object] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._counted: set[int] = set()
        self._count(there_before)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._count(tree_leaves(result))
        return result

    def _count(self, values: Iterable[object]) -> None:
        for value in values:
            if isinstance(value, Tensor) and (storage := value.untyped_storage())._cdata not in self._counted:
                self._counted.add(storage._cdata)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self._now)

    def _forget(self, storage: int, size: int) -> None:
        self._counted.remove(storage)
        self._now -= size


def _bytes(tensors: Iterable[object]) -> int:
    """Memory of tensors, of those that share it once."""
    storages = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in tensors
        if isinstance(tensor, Tensor)
    }
    return sum(storages.values())
