"""Reads the weights in a checkpoint of a training on one process, however many processes wrote it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed

from erprm.errors import FailedRunError
from erprm.models.backbone.lora import trained_state_dict
from erprm.models.backbone.module import BackboneModule
from erprm.models.distributed.strategy import METADATA_FILE
from erprm.models.distributed.untrusted import check_folder, refusing_code

__all__ = ["load_weights"]

# What Lightning calls the weights in a folder: its strategies for FSDP2 and for FSDP1.
_KEYS_OF_WEIGHTS = ("state_dict", "model")


def load_weights(module: BackboneModule, path: Path) -> dict[str, Any]:
    """Loads the weights of a checkpoint of Lightning into a module: a file, or a folder of the parts of processes.

    Optimizer states are left where they are. Of a module with adapters only what was trained is loaded.

    Args:
        module: on one process; its backbone is built if it is not yet.
        path: what ``ModelCheckpoint`` has written.

    Returns:
        What the checkpoint says of the data that it was trained on, as a data module's ``identity`` gives it.

    Raises:
        FileNotFoundError: if it is neither.
        CheckpointError: if it is damaged, or names code, which is not run.
        ValueError: if the module refuses the checkpoint (another step format).
        RuntimeError: if it holds other weights than the module has.
    """
    module.configure_model()
    if path.is_file():
        with refusing_code(path):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"], strict=module.strict_loading)
        return _identity_of_data(checkpoint)
    if not (path / METADATA_FILE).is_file():
        raise FileNotFoundError(f"{path} is neither a checkpoint file nor a folder of one, with {METADATA_FILE} in it")
    check_folder(path)
    with refusing_code(path / METADATA_FILE):
        rest = torch.load(path / METADATA_FILE, weights_only=True)
    module.on_load_checkpoint(rest)
    reader = FileSystemReader(path)
    names = reader.read_metadata().state_dict_metadata
    key = next(key for key in _KEYS_OF_WEIGHTS if any(name.startswith(f"{key}.") for name in names))
    # The module's own tensors are read into: there is no second copy.
    weights = module.state_dict()
    if not module.strict_loading:
        weights = trained_state_dict(weights, module)
    lacking = [name for name in weights if f"{key}.{name}" not in names]
    if lacking:
        raise FailedRunError(f"{path} lacks {len(lacking)} weight(s) of the model, such as {lacking[0]}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load_distributed({key: weights}, storage_reader=reader)
    return _identity_of_data(rest)


def _identity_of_data(checkpoint: dict[str, Any]) -> dict[str, Any]:
    states = (state for state in checkpoint.values() if isinstance(state, dict))
    return next((state["identity"] for state in states if isinstance(state.get("identity"), dict)), {})
