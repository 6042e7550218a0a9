"""Weights spread over processes: FSDP2's ``fully_shard`` on decoder layers, and the settings that FSDP1 needs.

No model code is touched. A forward of a sharded module gathers its weights layer by layer, which takes all processes:
each must make the same number of forwards (:func:`forwards_of_every_process`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    FullyShardedDataParallel,
    MixedPrecision,
    MixedPrecisionPolicy,
    fully_shard,
)
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from erprm.models.distributed.strategy import FSDP2Strategy

LayerClasses = set[type[nn.Module]]


def shards_weights(module: L.LightningModule) -> bool:
    """True if the module's trainer spreads weights over processes with FSDP2."""
    return _strategy(module, ModelParallelStrategy) is not None


def is_sharded(module: nn.Module) -> bool:
    """True if weights of the module are spread over processes, by FSDP2 or FSDP1."""
    return any(isinstance(part, FSDPModule | FullyShardedDataParallel) for part in module.modules())


def unsplit_layers(model: nn.Module) -> LayerClasses:
    """The classes of decoder layers that a model of transformers names as not to be split over devices.

    Raises:
        ValueError: if it names none that it has.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    classes = {type(part) for part in model.modules() if type(part).__name__ in names}
    if not classes:
        raise ValueError(
            f"{type(model).__name__} does not say which of its classes are decoder layers (it names "
            f"{', '.join(sorted(names)) or 'none'}): override layer_classes()"
        )
    return classes


def compile_layers(model: nn.Module, layers: LayerClasses) -> None:
    """Has ``torch.compile`` translate each layer when it is first called; layers of a class share the result."""
    for part in model.modules():
        if type(part) in layers:
            part.compile(dynamic=True)


def parallelize(module: L.LightningModule, layer_classes: Callable[[], LayerClasses]) -> None:
    """Spreads the weights of a module's children as the strategy of its trainer says; other strategies: does nothing.

    Each layer, and each child with what is left of it, gathers its weights for itself. Under FSDP1 the strategy wraps
    the module later: it is told to wrap the layers, unless it has an ``auto_wrap_policy`` of its own.

    Raises:
        ValueError: if the precision is none that weights can be sharded with, or the strategy splits tensors too.
    """
    fsdp1 = _strategy(module, FSDPStrategy)
    if fsdp1 is not None:
        fsdp1.kwargs.setdefault("auto_wrap_policy", ModuleWrapPolicy(layer_classes()))
        if fsdp1.mixed_precision is None and str(module.trainer.precision) == "bf16-mixed":
            # Lightning's own would round labels and rotary frequencies to bfloat16, and sum gradients in it.
            fsdp1.mixed_precision = MixedPrecision(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_root_forward_inputs=False
            )
    fsdp2 = _strategy(module, ModelParallelStrategy)
    if fsdp2 is None:
        return
    layers = layer_classes()
    shard = partial(
        fully_shard,
        mesh=_mesh(fsdp2),
        mp_policy=mixed_precision(str(module.trainer.precision)),
        reshard_after_forward=fsdp2.reshard_after_forward if isinstance(fsdp2, FSDP2Strategy) else True,
    )
    for child in module.children():
        if any(True for _ in child.parameters()):
            for part in child.modules():
                if type(part) in layers:
                    shard(part)
            shard(child)


def _mesh(strategy: ModelParallelStrategy) -> DeviceMesh:
    if isinstance(strategy, FSDP2Strategy):
        return strategy.sharding_mesh
    split = strategy.device_mesh["tensor_parallel"].size()
    if split > 1:
        raise ValueError(
            f"ModelParallelStrategy has tensor_parallel_size={split}, but no tensor of the model is split; use "
            "strategy: fsdp2, or set tensor_parallel_size to 1 and data_parallel_size to the number of processes"
        )
    return strategy.device_mesh["data_parallel"]


def mixed_precision(precision: str) -> MixedPrecisionPolicy:
    """Data types that FSDP2 computes in, for a precision of Lightning's trainer.

    ``bf16-mixed`` keeps weights, gradients and optimizer in float32, and gathers and multiplies in bfloat16.
    ``bf16-true`` has bfloat16 weights to begin with. Gradients are always summed over processes in float32.

    Raises:
        ValueError: for another precision; names those accepted.
    """
    if precision == "32-true":
        return MixedPrecisionPolicy()
    if precision == "bf16-mixed":
        return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    if precision == "bf16-true":
        return MixedPrecisionPolicy(reduce_dtype=torch.float32)
    raise ValueError(f"trainer.precision is {precision!r}; with FSDP2 it must be 32-true, bf16-mixed or bf16-true")


def forwards_of_every_process(module: nn.Module, own: int) -> int:
    """Number of forwards this process must make so that all processes make the same number.

    Args:
        module: the module; if its weights are not sharded, forwards of one process are nothing to the others.
        own: how many it needs for itself.
    """
    if not is_sharded(module):
        return own
    most = torch.tensor(own, device=next(module.parameters()).device)
    torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
    return int(most)


def clip_gradients(module: L.LightningModule, clip_val: float | None, algorithm: str | None) -> bool:
    """Clips the norm of gradients that FSDP1 has flattened and sharded, which Lightning 2.6 refuses to (issue 19235).

    Returns:
        Whether it did; if not, Lightning's own way is right.
    """
    root = module.trainer.model
    if not isinstance(root, FullyShardedDataParallel) or not clip_val or algorithm not in (None, "norm"):
        return False
    root.clip_grad_norm_(clip_val)
    return True


def gathered_state_dict(module: L.LightningModule) -> dict[str, Tensor]:
    """All weights of a module, whole and on the CPU, if it is sharded: on the first process, elsewhere none.

    All processes call it at the same time. Names are those of the module without any wrapper.
    """
    root: Any = module
    if any(isinstance(part, FullyShardedDataParallel) for part in module.modules()):
        root = module.trainer.model
    # Weights that are on the CPU already need no way there (on which FSDP1 of torch 2.13 crashes).
    on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    options = StateDictOptions(full_state_dict=True, cpu_offload=not on_cpu)
    state: Any = get_model_state_dict(root, options=options)
    return dict(state)


def unsharded_class(cls: type[Any]) -> type[Any]:
    """The class of a model before ``fully_shard`` derived one of its own from it."""
    return next(base for base in cls.__mro__ if not issubclass(base, FSDPModule))


def _strategy(module: L.LightningModule, kind: type[Any]) -> Any:
    trainer = module._trainer
    return trainer.strategy if trainer is not None and isinstance(trainer.strategy, kind) else None
