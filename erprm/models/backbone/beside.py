"""Weights of a module beside its backbone, such as a head of its own: saved in one file, and loaded back whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils.hub import cached_file

from erprm.engines.model_files import BackboneError, check_weight_file
from erprm.models.backbone.weight_files import BESIDE_FILE

_BACKBONE = "backbone."


def beside_backbone(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a module's state that are not its backbone's."""
    return {name: tensor for name, tensor in state_dict.items() if not name.startswith(_BACKBONE)}


def write_beside(weights: Mapping[str, Tensor], folder: Path, written_by: str) -> None:
    """Writes weights beside a backbone that has been saved.

    Args:
        weights: of :func:`beside_backbone`; there may be none.
        folder: of the saved backbone.
        written_by: class of the module, for messages.
    """
    if not weights:
        return
    # Copies, since safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}
    save_file(copies, folder / BESIDE_FILE, metadata={"format": "pt", "class": written_by})
    rank_zero_warn(
        f"{BESIDE_FILE} holds {_named(copies)}, which {written_by} has beside its backbone: its from_pretrained loads "
        "them, but plain transformers reads the backbone alone"
    )


@torch.no_grad()
def load_beside(module: nn.Module, path: str) -> bool:
    """Fills what a module has beside its backbone from a folder or the hub, if the file is there.

    Returns:
        Whether nothing is left at random: all was loaded, or no parameter is beside the backbone.

    Raises:
        BackboneError: if the file is damaged, or lacks a weight, has one too many, or one of another shape.
    """
    own = beside_backbone(module.state_dict(keep_vars=True))
    found = cached_file(
        path,
        BESIDE_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    if found is None:
        return not any(isinstance(tensor, nn.Parameter) for tensor in own.values())
    check_weight_file(Path(found))
    with safe_open(found, framework="pt") as file:
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        written_by = (file.metadata() or {}).get("class", "another class")
    for kind, names in (("lacks", own.keys() - saved.keys()), ("has besides", saved.keys() - own.keys())):
        if names:
            raise BackboneError(
                f"{found} was written by {written_by}; for {type(module).__name__} it {kind} {_named(names)}. "
                "Load it with the class that wrote it"
            )
    for name, tensor in own.items():
        if tensor.shape != saved[name].shape:
            raise BackboneError(
                f"{found}: {name} is of shape {tuple(saved[name].shape)}; {type(module).__name__} takes "
                f"{tuple(tensor.shape)}"
            )
        tensor.data.copy_(saved[name])
    return True


def _named(names: Mapping[str, Tensor] | set[str]) -> str:
    first = sorted(names)[0]
    return first if len(names) == 1 else f"{len(names)} weights, {first} for one"
