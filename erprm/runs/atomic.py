"""Files that are there wholly or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that gets its name once the block ends without an error, even across a power cut.

    Until then it has a hidden temporary name beside it; an error removes it and leaves an earlier file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: it is no name of one's own among machines that share a folder.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers_of(folder: Path, pattern: str) -> list[Path]:
    """What processes that were killed while they wrote have left in a folder.

    Args:
        folder: where the files are.
        pattern: of the names that they would have got.
    """
    return sorted(folder.glob(f".{pattern}.{'[0-9a-f]' * 32}.tmp"))
