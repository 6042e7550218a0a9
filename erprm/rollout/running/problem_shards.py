"""The problems of a run, cut into shards that are read one at a time."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np

from erprm.data.sources import Problem, ProblemSource, refuse_second
from erprm.runs.identity import sha256_of


class SeenNames:
    """Detects repeated names by their hashes, at eight bytes per name: memory for ten million of them is 80 MB."""

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


_DIGEST_BYTES = 8


class ProblemShards:
    """Reads all problems once to count and hash them, and then again, as shards of them are asked for.

    Between shards it keeps eight bytes of each: the hash by which it notices that the problems have changed since.
    Shards are cheapest in ascending order; going back means reading from the start. It can be pickled if the problems
    can.

    Args:
        problems: a list, a :class:`ProblemSource`, or anything else that can be iterated over several times.
        size: problems of a shard; the last may have fewer.

    Attributes:
        size: problems of a shard.
        count: problems of all shards.
        sha256: hash of all problems.

    Raises:
        ValueError: if there is no problem, or two share an id; names both places.
    """

    def __init__(self, problems: Iterable[Problem], size: int) -> None:
        if iter(problems) is problems:
            raise TypeError(f"problems is {problems!r}, which can be iterated over only once; a list was expected")
        self._problems, self.size = problems, size
        self._digests = bytearray()
        self._unread: Iterator[list[Problem]] | None = None
        self._next = 0
        digest, names, self.count = hashlib.sha256(), SeenNames(), 0
        for shard in self._cut():
            lines = [_line(problem) for problem in shard]
            for problem, line in zip(shard, lines, strict=True):
                names.add(problem.problem_id)
                digest.update(line)
            self._digests += _short_hash(lines)
            self.count += len(shard)
        if not self.count:
            raise ValueError("there is no problem; at least one is needed")
        if doubled := names.doubled():
            self._refuse_doubled(doubled)
        self.sha256 = digest.hexdigest()

    def __len__(self) -> int:
        """Number of shards."""
        return len(self._digests) // _DIGEST_BYTES

    def count_of(self, shard: int) -> int:
        """Number of problems in a shard."""
        return min(self.size, self.count - shard * self.size)

    def __getitem__(self, shard: int) -> list[Problem]:
        """The problems of a shard.

        Raises:
            ValueError: if they are not those that were there at first.
        """
        if self._unread is None or self._next > shard:
            self._unread, self._next = self._cut(), 0
        problems = next(islice(self._unread, shard - self._next, None), [])
        self._next = shard + 1
        start = shard * _DIGEST_BYTES
        if _short_hash(map(_line, problems)) != self._digests[start : start + _DIGEST_BYTES]:
            self._unread = None
            raise ValueError(
                f"the problems have changed since the run began: shard {shard} has others now; put back the "
                "earlier ones, or start a run with the new ones in another output_dir"
            )
        return problems

    def _cut(self) -> Iterator[list[Problem]]:
        unread = iter(self._problems)
        while shard := list(islice(unread, self.size)):
            yield shard

    def _refuse_doubled(self, hashes: frozenset[int]) -> None:
        place_of: dict[str, str] = {}
        source = self._problems
        placed: Iterable[tuple[Any, Problem]] = (
            source.with_places() if isinstance(source, ProblemSource) else enumerate(source)
        )
        for place, problem in placed:
            if hash_of(problem.problem_id) in hashes:
                where = place if isinstance(place, str) else f"problem {place}"
                refuse_second(problem.problem_id, where, place_of)

    def __getstate__(self) -> dict[str, Any]:
        """Without the place reached, which another process has of its own."""
        return {**self.__dict__, "_unread": None}


def _line(problem: Problem) -> bytes:
    return json.dumps(asdict(problem), sort_keys=True).encode()


def _short_hash(lines: Iterable[bytes]) -> bytes:
    return bytes.fromhex(sha256_of(lines))[:_DIGEST_BYTES]
