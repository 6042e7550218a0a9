"""The safetensors files of a checkpoint, read by rows: whoever needs a part of a tensor reads that part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open
from torch import Tensor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file


class WeightFiles:
    """Tensors by name, in one or several safetensors files.

    Attributes:
        names: names of all tensors.
    """

    def __init__(self, file_of: dict[str, Path]) -> None:
        """Takes the file of each tensor."""
        self._file_of = file_of
        self.names = frozenset(file_of)

    @classmethod
    def find(cls, path: str) -> WeightFiles | None:
        """The files of a checkpoint in a folder or on the hub, whence they are downloaded; ``None`` if it has none.

        Raises:
            FileNotFoundError: if the index names a file that is not there.
        """
        index = _file(path, SAFE_WEIGHTS_INDEX_NAME)
        if index is None:
            whole = _file(path, SAFE_WEIGHTS_NAME)
            if whole is None:
                return None
            with safe_open(whole, framework="pt") as opened:
                return cls(dict.fromkeys(opened.keys(), whole))
        name_of: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files: dict[str, Path] = {}
        for name in sorted(set(name_of.values())):
            file = _file(path, name)
            if file is None:
                raise FileNotFoundError(f"backbone: {path!r} has no file {name!r}, which {index.name} names")
            files[name] = file
        return cls({tensor: files[name] for tensor, name in name_of.items()})

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        with safe_open(self._file_of[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def whole(self, name: str) -> Tensor:
        """A tensor."""
        with safe_open(self._file_of[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of a tensor."""
        # Opened anew each time: pages of a mapped file count as memory of the process for as long as it is open.
        with safe_open(self._file_of[name], framework="pt") as file:
            rows: Tensor = file.get_slice(name)[start:stop]
            return rows

    def parts(self, name: str, rows: int) -> Iterator[Tensor]:
        """A tensor from its first row to its last, so many rows at a time."""
        for start in range(0, self.shape(name)[0], rows):
            yield self.rows(name, start, start + rows)


def _file(path: str, name: str) -> Path | None:
    found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
