"""Executors, which make the shards of a run: this process, or the actors of a Ray cluster, through Ray Data.

An actor holds an engine and writes its shards itself, as the process of a local run does. So Ray transports only shard
numbers and their records, and what an actor has written outlives it. If an actor dies, Ray starts another and gives it
the same shards; it finds the ones already written and skips them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from erprm.engines.base import Engine
from erprm.errors import FailedRunError
from erprm.rollout.running.shard_maker import ShardMaker, ShardWork, TooManyRejectedError
from erprm.rollout.running.shards import ShardMark

log = logging.getLogger(__name__)

# Ray Data keeps some kilobytes about each block; more shards than these share blocks.
_MOST_BLOCKS = 10_000


def open_executor(work: ShardWork, engine: Engine | None = None) -> LocalExecutor | RayExecutor:
    """The executor that a configuration names, ready to run; to be closed afterwards.

    Raises:
        ValueError: if there is an engine already and actors are to make the shards.
        ImportError: if what the executor needs is not installed.
    """
    if work.config.executor == "local":
        return LocalExecutor(work, engine)
    if engine is not None:
        raise ValueError("an engine was given with executor='ray'; each actor loads its own, which config.model names")
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


class ActorError(FailedRunError):
    """An actor failed at a shard; the message is that of its error."""


class ShardActor:
    """One engine of the cluster."""

    def __init__(self, work: ShardWork) -> None:
        self._work = work
        self._stack = ExitStack()
        self._maker: ShardMaker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Makes shards; an error becomes a result, because Ray would wrap it up beyond recognition."""
        results = [self._result(int(shard)) for shard in batch["shard"]]
        return {"result": [json.dumps(result) for result in results]}

    def _result(self, shard: int) -> dict[str, Any]:
        try:
            # Not when the actor is made: an engine that cannot be loaded is an error like others.
            if self._maker is None:
                self._maker = self._stack.enter_context(self._work.open_maker())
            return {"mark": asdict(self._maker.make(shard))}
        except TooManyRejectedError as error:
            return {"rejected": str(error)}
        except Exception as error:
            log.exception("shard %d failed", shard)
            return {"error": f"shard {shard}: {type(error).__name__}: {error}"}

    def __del__(self) -> None:
        self._stack.close()


class RayExecutor:
    """Makes shards with ``config.actors`` actors, in the order in which they get done.

    Uses the cluster this process is connected to already, or else the one that ``RAY_ADDRESS`` names, or else one on
    this machine alone.

    Raises:
        ImportError: if Ray is not installed.
    """

    def __init__(self, work: ShardWork) -> None:
        try:
            import ray.data
        except ImportError as error:
            raise ImportError("executor 'ray' needs Ray Data: pip install 'erprm[ray]'") from error
        self._work = work
        self._tokens = 0
        self._connected = not ray.is_initialized()
        if self._connected:
            ray.init(logging_level=logging.WARNING)

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far, in shards that are done."""
        return self._tokens

    def run(self, shards: Sequence[int]) -> Iterator[ShardMark]:
        """Makes shards and writes them.

        Raises:
            ActorError: if an actor raises.
            TooManyRejectedError: if an actor does.
        """
        import ray.data

        config, resources = self._work.config, ray.cluster_resources()
        gpus = config.gpus_per_actor
        if gpus is None:
            gpus = 1.0 if resources.get("GPU") else 0.0
        for name, wanted in (("CPU", config.actors), ("GPU", config.actors * gpus)):
            if wanted > resources.get(name, 0):
                log.warning(
                    "%d actors want %g %ss, the Ray cluster has %g: they wait until it grows",
                    config.actors, wanted, name, resources.get(name, 0),
                )  # fmt: skip
        numbers = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=min(len(shards), _MOST_BLOCKS)
        )
        made = numbers.map_batches(
            ShardActor,
            fn_constructor_args=(self._work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=config.actors, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            num_gpus=gpus,
        )
        made.context.enable_progress_bars = False
        for row in made.iter_rows():
            result = json.loads(row["result"])
            if "rejected" in result:
                raise TooManyRejectedError(result["rejected"])
            if "error" in result:
                raise ActorError(result["error"])
            mark = ShardMark(**result["mark"])
            self._tokens += mark.counts["completion_tokens"]
            yield mark

    def close(self) -> None:
        """Leaves the cluster, and ends it if it was started here."""
        import ray

        if self._connected:
            ray.shutdown()
