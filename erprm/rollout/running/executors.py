"""Executors, which make the shards of a run: this process, or actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol

from erprm.engines.base import Engine
from erprm.rollout.running.shard_maker import ShardWork
from erprm.rollout.running.shards import ShardMark


class Executor(Protocol):
    """Makes shards; to be closed afterwards."""

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        ...

    def run(self, shards: Sequence[int]) -> Iterator[ShardMark]:
        """Makes shards and writes them; gives each one's mark as soon as it is done, in any order."""
        ...

    def close(self) -> None:
        """Releases engines and graders."""
        ...


def open_executor(work: ShardWork, engine: Engine | None = None) -> Executor:
    """The executor that a configuration names, ready to run.

    Args:
        work: what to make.
        engine: an engine that already exists; by default each process loads the one of the configuration.

    Raises:
        ValueError: if there is an engine already and actors are to make the shards.
        ImportError: if what the executor needs is not installed.
    """
    if work.config.executor == "local":
        return LocalExecutor(work, engine)
    if engine is not None:
        raise ValueError("an engine was given with executor='ray'; each actor loads its own, which config.model names")
    from erprm.rollout.running.ray_executor import RayExecutor

    return RayExecutor(work)


class LocalExecutor:
    """Makes shards in this process, one after the other."""

    def __init__(self, work: ShardWork, engine: Engine | None = None) -> None:
        self._stack = ExitStack()
        self._maker = self._stack.enter_context(work.open_maker(engine))
        self._tokens_before = self._maker.engine.usage.completion

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        return self._maker.engine.usage.completion - self._tokens_before

    def run(self, shards: Sequence[int]) -> Iterator[ShardMark]:
        """Makes shards in their order."""
        yield from map(self._maker.make, shards)

    def close(self) -> None:
        """Releases the grader, and the engine unless it was given."""
        self._stack.close()
