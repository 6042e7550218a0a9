"""Data sets of the Hugging Face hub, told apart from local paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from erprm.data.compressed import COMPRESSED_SUFFIXES

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_SUFFIXES = {".parquet", ".json", ".jsonl", *COMPRESSED_SUFFIXES}


def is_hub_id(text: str) -> bool:
    """Whether a text has the form ``owner/name`` and names nothing that is there on this machine."""
    path = Path(text)
    return _HUB_ID.fullmatch(text) is not None and path.suffix not in _FILE_SUFFIXES and not path.exists()


def load_hub_dataset(hub_id: str, what: str, config: str | None = None, split: str = "train") -> Any:
    """One split of a hub data set, as a ``datasets.Dataset``.

    Raises:
        FileNotFoundError: if it is neither on this machine nor on the hub, or the hub cannot be reached.
        ValueError: from ``datasets``, naming the splits there are, if it has no such split.
    """
    import datasets

    try:
        return datasets.load_dataset(hub_id, config, split=split)
    except OSError as error:
        raise FileNotFoundError(
            f"{what}: {hub_id!r} is no local path, and loading it as a hub data set failed: {error}"
        ) from error
