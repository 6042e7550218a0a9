"""Refuses checkpoints that run code when they are read: both the files and the folders of Lightning are pickles.

Of a file torch reads weights, numbers and texts alone if it is told to (``weights_only``). The folder of a sharded
checkpoint has pickles beside its weights that torch 2.13 loads whatever they name (``.metadata``, and the values of the
optimizer's groups), so these are looked through first.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from erprm.errors import InputError

_METADATA = ".metadata"
_DESCRIPTION = "torch.distributed.checkpoint.metadata"
# What torch and Lightning name in the description of a folder: nothing that acts.
_NAMES = {
    _DESCRIPTION: {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *(name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype))},
    "pathlib": {"Path", "PosixPath", "PurePosixPath"},
    "pathlib._local": {"Path", "PosixPath", "PurePosixPath"},  # as Python 3.13 calls it
    "collections": {"OrderedDict"},
}


class CheckpointError(InputError):
    """A checkpoint that is damaged, or that is not read since it would run code; the message names the file."""


@contextmanager
def refusing_code(path: Path | str) -> Iterator[None]:
    """Turns what torch raises of a checkpoint read with ``weights_only`` into an error of the user's.

    Raises:
        CheckpointError: naming the checkpoint, and what it would call.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error


def check_folder(folder: Path) -> None:
    """Looks through the pickles of a sharded checkpoint without running what they name.

    Raises:
        CheckpointError: if one names anything but the parts of a checkpoint, or cannot be read; names the file.
    """
    file = folder / _METADATA
    try:
        metadata = _Description(io.BytesIO(file.read_bytes())).load()
        plain = {name for name, saved in metadata.state_dict_metadata.items() if not hasattr(saved, "chunks")}
        places = [place for index, place in metadata.storage_data.items() if index.fqn in plain]
    except pickle.UnpicklingError as error:
        raise _refusal(file, error) from error
    except (AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    for place in places:
        _check_value(folder / place.relative_path, place)


def _check_value(file: Path, place: Any) -> None:
    if getattr(place, "transform_descriptors", None):
        raise CheckpointError(f"{file} holds values in another form ({place.transform_descriptors}), which is not read")
    with file.open("rb") as parts, refusing_code(file):
        parts.seek(place.offset)
        torch.load(io.BytesIO(parts.read(place.length)), weights_only=True)


class _Description(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _NAMES.get(module, ()):
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return super().find_class(module, name)


def _refusal(path: Path | str, error: Exception) -> CheckpointError:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        return CheckpointError(f"{path} is damaged, or not a checkpoint")
    return CheckpointError(
        f"{path} is not read: it names {named[1]}, which reading it would call. A checkpoint may hold weights, numbers "
        "and texts; --weights_only false of fit, validate, test and predict reads any, if you trust it"
    )
