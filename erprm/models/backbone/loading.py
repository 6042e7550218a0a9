"""Loading of pretrained backbones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from erprm.engines.model_files import BackboneError as BackboneError
from erprm.engines.model_files import check_model_folder, load_model, model_path
from erprm.models import Attention
from erprm.models import Dtype as Dtype
from erprm.models.backbone.sharded_loading import NotDeferrableError, empty_causal_lm

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


def load_causal_lm(
    path: str,
    gguf_file: str | None = None,
    *,
    dtype: Dtype = "float32",
    attn_implementation: Attention = "auto",
    empty: bool = False,
) -> PreTrainedModel:
    """Loads a causal language model from a folder or the hub; weights only as safetensors or GGUF.

    With ``empty`` the weights are left out, on the meta device, if they can be loaded later
    (:class:`erprm.models.backbone.sharded_loading.DeferredWeights`); else a warning says why they cannot.

    Raises:
        BackboneError: if there is none, or its files lack some of its weights; names the path.
    """
    path = model_path(path)
    check_model_folder(path, gguf_file)
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
    model: PreTrainedModel
    model, missing = _loaded(AutoModelForCausalLM, path, gguf_file, settings)
    _refuse_missing(missing, path, model)
    # The weights have been unpacked; transformers 5.19 may still refuse to save a model marked as GGUF.
    for owner, mark in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(owner, mark):
            delattr(owner, mark)
    return model


def _loaded(loader: Any, path: str, gguf_file: str | None, settings: dict[str, Any]) -> tuple[Any, list[str]]:
    try:
        return load_model(loader, path, gguf_file, **settings)
    except FileNotFoundError as error:
        raise BackboneError(f"backbone: {error}") from error


def _refuse_missing(missing: list[str], path: str, model: PreTrainedModel) -> None:
    if missing:
        raise BackboneError(
            f"the files of {path!r} lack {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}"
        )


def load_pretrained(
    loader: Any,
    path: str,
    *,
    dtype: Dtype,
    attn_implementation: Attention,
    may_lack: Callable[[str, PreTrainedModel], bool] | None = None,
) -> PreTrainedModel:
    """Loads a model of transformers, without code of the hub and with every weight from its safetensors files.

    ``may_lack`` says whether the model may lack the weight of a name, which is then random; by default it may not.

    Raises:
        BackboneError: if it cannot be loaded, or the files lack weights, which transformers would make up at random.
    """
    model: PreTrainedModel
    model, missing = _loaded(loader, model_path(path), None, _load_settings(dtype, attn_implementation))
    _refuse_missing([name for name in missing if may_lack is None or not may_lack(name, model)], path, model)
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
    path = model_path(path)
    check_model_folder(path, gguf_file)
    try:
        settings = {"gguf_file": gguf_file} if gguf_file else {}
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, **settings)
    except (OSError, ValueError) as error:
        raise BackboneError(f"no configuration of a model could be loaded from {path!r}: {error}") from error
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        config, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
    )
    return model
