"""The safetensors files of a model: written together; names and shapes of their tensors; a reader of parts of them.

What a module has beside its backbone, such as a head of its own, is saved in one more file and loaded back whole.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

from erprm.engines.model_files import BESIDE_FILE, BackboneError, beside_file, check_weight_file
from erprm.runs.atomic import whole_files


class WeightFiles:
    """Tensors by name, in one or several safetensors files.

    Attributes:
        shapes: shape of each tensor.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Reads the headers of the files."""
        self._files = files
        saved = self._reader().read_metadata().state_dict_metadata
        self.shapes = {name: tuple(one.size) for name, one in saved.items() if isinstance(one, TensorStorageMetadata)}

    @classmethod
    def find(cls, path: str) -> WeightFiles | None:
        """The files of a checkpoint in a folder or on the hub, downloaded if needed; ``None`` if it has none.

        Raises:
            FileNotFoundError: if the index names a file that does not exist.
        """
        index = _file(path, SAFE_WEIGHTS_INDEX_NAME)
        if index is None:
            whole = _file(path, SAFE_WEIGHTS_NAME)
            return None if whole is None else cls([whole])
        files = []
        for name in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
            file = _file(path, name)
            if file is None:
                raise FileNotFoundError(f"backbone: {path!r} has no file {name!r}, which {index.name} names")
            files.append(file)
        return cls(files)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Fills tensors; of a sharded one this process reads its own part alone, and no other process takes part.

        Args:
            tensors: where each named tensor goes. One may have more rows than its file; those are left as they are.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
            load_distributed(dict(tensors), storage_reader=self._reader(), planner=_PlannerOfMoreRows(), no_dist=True)

    def parts(self, name: str, rows: int) -> Iterator[Tensor]:
        """A tensor from its first row to its last, so many rows at a time."""
        for start in range(0, self.shapes[name][0], rows):
            # Opened anew each time: pages of a mapped file count as memory of the process for as long as it is open.
            with safe_open(self._file_of(name), framework="pt") as file:
                yield file.get_slice(name)[start : start + rows]

    def _file_of(self, name: str) -> Path:
        for path in self._files:
            with safe_open(path, framework="pt") as file:
                if name in file.keys():  # noqa: SIM118 (not a mapping)
                    return path
        raise KeyError(name)

    def _reader(self) -> HuggingFaceStorageReader:
        reader = HuggingFaceStorageReader(str(self._files[0].parent))
        reader.fs = _TheseFiles(self._files)
        return reader


class _TheseFiles(FileSystem):
    """A folder that shows some of its files: others may hold the same weights in another layout."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def ls(self, path: str | os.PathLike[str]) -> list[str]:
        return [str(file) for file in self._files]


class _PlannerOfMoreRows(DefaultLoadPlanner):
    """Lets a tensor have more rows than its file, which torch's planner refuses; the file's rows are its first."""

    def set_up_planner(
        self, state_dict: dict[str, Tensor], metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        assert metadata is not None
        for name, tensor in state_dict.items():
            saved = metadata.state_dict_metadata[name]
            assert isinstance(saved, TensorStorageMetadata)
            saved.size = tensor.size()
        super().set_up_planner(state_dict, metadata, is_coordinator)


def _file(path: str, name: str) -> Path | None:
    found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def model_files(folder: Path) -> AbstractContextManager[Path]:
    """A hidden folder to save a model into; its files move into ``folder`` together, weights of an earlier one go."""
    return whole_files(folder, last=CONFIG_NAME, replaced=("model*.safetensors", SAFE_WEIGHTS_INDEX_NAME, BESIDE_FILE))


_BACKBONE = "backbone."


def beside_backbone(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a module's state that are not its backbone's."""
    return {name: tensor for name, tensor in state_dict.items() if not name.startswith(_BACKBONE)}


def write_beside(weights: Mapping[str, Tensor], folder: Path, written_by: str) -> None:
    """Writes the weights beside a backbone, if there are any, into the folder that it has been saved to."""
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
    found = beside_file(path)
    if found is None:
        return not any(isinstance(tensor, nn.Parameter) for tensor in own.values())
    check_weight_file(found)
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
    return first if len(names) == 1 else f"{len(names)} weights ({first}, ...)"
