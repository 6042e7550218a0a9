"""Reads and writes plain, gzip and zstd files; reading detects the compression by the first bytes, not the name."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

COMPRESSED_SUFFIXES = {".gz", ".zst"}
_FIRST_BYTES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BUFFER = 1 << 20


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Opens a file for reading; compressed content is decompressed on the way, a buffer at a time.

    Raises:
        ValueError: naming the file, if compressed data are damaged or end too early.
    """
    with path.open("rb") as raw:
        first = raw.read(4)
        raw.seek(0)
        codec = next((name for start, name in _FIRST_BYTES.items() if first.startswith(start)), None)
        if codec is None:
            yield io.BufferedReader(raw, _BUFFER)
            return
        import pyarrow as pa

        try:
            yield io.BufferedReader(pa.CompressedInputStream(raw, codec), _BUFFER)
        except OSError as error:
            raise ValueError(f"{path}: the {codec} data are damaged or end too early ({error})") from error


@contextmanager
def compressing(file: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """Wraps ``file`` so that data written is compressed as the suffix says: ``.gz``, ``.zst``, or not at all."""
    if suffix == ".gz":
        # Without a time and a name in it, the same rows make the same file.
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as gzipped:
            yield cast(BinaryIO, gzipped)
    elif suffix == ".zst":
        import pyarrow as pa

        # pyarrow closes what it writes to: here a second file object on the same descriptor, which stays open.
        with (
            open(file.fileno(), "wb", closefd=False) as left_open,
            pa.CompressedOutputStream(left_open, "zstd") as zipped,
        ):
            yield zipped
    else:
        yield file
