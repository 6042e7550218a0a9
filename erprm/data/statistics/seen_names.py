"""Detects repeated names, at eight bytes per name."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np


class SeenNames:
    """Hashes of the names added so far; memory for ten million of them is 80 MB."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, name: str) -> None:
        """Takes note of a name."""
        self._hashes.append(hash_of(name))

    def doubled(self) -> frozenset[int]:
        """Hashes that came more than once; two names share one by chance in about 1 of 2**64 pairs."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        hashes.sort()  # in place: a copy would take as much again
        return frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def hash_of(name: str) -> int:
    """The hash of a name, in [0, 2**64)."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
