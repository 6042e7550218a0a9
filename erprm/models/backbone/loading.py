"""Loading of pretrained backbones, and the optimizer setup that all modules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from erprm.errors import InputError
from erprm.models.backbone.sharded_loading import NotDeferrableError, empty_causal_lm
from erprm.models.choices import Attention
from erprm.models.choices import Dtype as Dtype

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


class BackboneError(InputError):
    """A backbone that cannot be loaded or does not fit."""


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
            (:class:`erprm.models.backbone.sharded_loading.DeferredWeights`); else a warning says why they cannot.

    Raises:
        BackboneError: if there is none, or its files lack some of its weights; names the path.
    """
    settings = _load_settings(dtype, attn_implementation)
    if gguf_file is not None:
        return _load_gguf(path, gguf_file, settings)
    if empty:
        try:
            return empty_causal_lm(path, **settings)
        except NotDeferrableError as error:
            rank_zero_warn(f"backbone: each process loads {path!r} whole: {error}")
        except (OSError, ValueError):
            pass  # Loading it whole says what is wrong.
    return load_pretrained(AutoModelForCausalLM, path, dtype=dtype, attn_implementation=attn_implementation)


def _load_gguf(path: str, gguf_file: str, settings: dict[str, Any]) -> PreTrainedModel:
    check_local(path, gguf_file)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **settings, **_gguf(gguf_file))
    except (OSError, ValueError) as error:
        raise BackboneError(f"no causal language model could be loaded from {path!r}: {error}") from error
    # The weights have been dequantized; transformers 5.19 would still refuse to save a model marked as GGUF.
    del model.hf_quantizer
    del model.config.quantization_config
    return model


def load_pretrained(
    loader: Any,
    path: str,
    *,
    dtype: Dtype,
    attn_implementation: Attention,
    may_lack: Callable[[str, PreTrainedModel], bool] | None = None,
) -> PreTrainedModel:
    """Loads a model of transformers, without code of the hub and with every weight from its safetensors files.

    Args:
        loader: class with a ``from_pretrained``.
        path: folder or hub id.
        dtype: type of the weights.
        attn_implementation: attention of transformers.
        may_lack: whether the model may lack the weight of a name, which is then random; by default none.

    Raises:
        BackboneError: if it cannot be loaded, or the files lack weights, which transformers would make up at random.
    """
    check_local(path)
    try:
        model: PreTrainedModel
        model, info = loader.from_pretrained(
            path,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **_load_settings(dtype, attn_implementation),
        )
    except (OSError, ValueError) as error:
        raise BackboneError(f"{loader.__name__} cannot load {path!r}: {error}") from error
    missing = sorted(name for name in info["missing_keys"] if may_lack is None or not may_lack(name, model))
    if missing:
        raise BackboneError(
            f"the safetensors files of {path!r} lack {len(missing)} weights of a {type(model).__name__}, "
            f"{missing[0]} for one"
        )
    return model


def _load_settings(dtype: Dtype, attn_implementation: Attention) -> dict[str, Any]:
    return {
        "dtype": getattr(torch, dtype),
        "attn_implementation": None if attn_implementation == "auto" else attn_implementation,
    }


def causal_lm_without_weights(path: str, gguf_file: str | None, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model as it is made anew; of a folder or hub id only the configuration is read.

    Raises:
        BackboneError: if there is none; names the path.
    """
    check_local(path, gguf_file)
    try:
        config = AutoConfig.from_pretrained(path, **_gguf(gguf_file))
    except (OSError, ValueError) as error:
        raise BackboneError(f"no configuration of a model could be loaded from {path!r}: {error}") from error
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    return model


def _gguf(gguf_file: str | None) -> dict[str, Any]:
    return {"gguf_file": gguf_file} if gguf_file else {}


def check_local(path: str, gguf_file: str | None = None) -> None:
    """Says what is wrong with a local path before the hub is asked for it.

    Raises:
        BackboneError: if it does not exist.
    """
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
