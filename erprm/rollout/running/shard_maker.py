"""Makes one shard: rolls out its problems, leaves out those that fail, and writes it.

What fails for one problem is told from what fails for all. A ``ValueError`` or ``RuntimeError`` is the problem's: a
prompt longer than the context, an engine that refuses one request, a grader of the user's own that raises on one text.
Everything else ends the run: memory or disk used up, a GPU that broke, a server that cannot be reached.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from erprm.data.process_memory import peak_memory
from erprm.data.records import RolloutRecord, validate_record
from erprm.data.sources import Problem
from erprm.engines.base import Engine, EngineError, failing_at
from erprm.engines.registry import open_engine
from erprm.errors import FailedRunError, printable
from erprm.grading import BatchGrader, Grader, OutcomeGrader, extract_answer, open_grader
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.label_problems import roll_out
from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.problem_shards import ProblemShards
from erprm.rollout.running.shards import ShardMark, ShardStore
from erprm.runs.folder import Json

log = logging.getLogger(__name__)

_LONGEST_REASON = 2000
# HTTP: bad request, too large, cannot be processed.
_REFUSES_ONE_REQUEST = {400, 413, 422}


class TooManyRejectedError(FailedRunError):
    """So many problems cannot be rolled out that something else than the problems must be wrong."""


@dataclass
class ShardWork:
    """Everything from which shards can be made; goes to other processes as a pickle."""

    config: RolloutConfig
    problems: ProblemShards
    store: ShardStore

    @contextmanager
    def open_maker(self, engine: Engine | None = None) -> Iterator[ShardMaker]:
        """Loads the engine, unless there is one already, and opens the grader; closes afterwards what it opened."""
        with ExitStack() as stack:
            if engine is None:
                engine = stack.enter_context(closing(open_engine(self.config, self.config.prompt)))
            self.store.begin(model_sha256=engine.fingerprint(), **self.config.prompt.identity(engine.tokenizer))
            grader = stack.enter_context(open_grader(self.config.grading, "grading"))
            yield ShardMaker(self, engine, grader)


@dataclass
class ShardMaker:
    """Makes shards with an engine and a grader that are open."""

    work: ShardWork
    engine: Engine
    grader: OutcomeGrader | BatchGrader

    def make(self, shard: int) -> ShardMark:
        """Makes a shard and writes it, unless it already exists.

        Of a shard with rejected problems, when ``retry_rejected`` asks for them, the other records are kept.

        Raises:
            TooManyRejectedError: if the shard has several problems and every one of them is rejected; it is not
                written then.
        """
        config, store = self.work.config, self.work.store
        problems = self.work.problems[shard]
        earlier = store.mark_of(shard)
        if earlier is None or (config.retry_rejected and earlier.ungraded):
            todo, kept, summary = problems, [], RolloutSummary.nothing()
        elif config.retry_rejected and earlier.rejected:
            again = {rejected["problem_id"] for rejected in earlier.rejected}
            todo = [problem for problem in problems if problem.problem_id in again]
            kept, summary = store.records_of(shard), RolloutSummary(**earlier.counts)
        else:
            return earlier

        started, usage = time.perf_counter(), replace(self.engine.usage)
        killed_before = len(self._killed())
        with failing_at(
            f"shard {shard}, problems {todo[0].problem_id!r} to {todo[-1].problem_id!r}",
            "The shards that are written are kept; the same command continues with this one.",
        ):
            records, made, rejected = self._roll_out(todo, shard)
        if len(rejected) == len(problems) > 1:
            raise TooManyRejectedError(
                f"none of the {len(problems)} problems of shard {shard} can be rolled out: {first_of(rejected)}"
            )
        ungraded = [each for pair in self._killed()[killed_before:] for each in self._ungraded(pair, todo)]
        summary += replace(
            made,
            # Of failed attempts, too.
            prompt_tokens=self.engine.usage.prompt - usage.prompt,
            completion_tokens=self.engine.usage.completion - usage.completion,
            seconds=time.perf_counter() - started,
            peak_bytes=peak_memory(),
        )
        counts = replace(summary, rejected_problems=len(rejected), ungraded_answers=len(ungraded))
        return store.write(shard, _in_order(problems, [*kept, *records]), asdict(counts), rejected, ungraded)

    def _roll_out(
        self, problems: Sequence[Problem], shard: int
    ) -> tuple[list[RolloutRecord], RolloutSummary, list[Json]]:
        """Records, counts, and rejected problems; one by one if it fails for all of them together.

        The records are the same either way: every completion has a random stream of its own.
        """
        try:
            records, summary = roll_out(problems, self.engine, self.grader, self.work.config)
            for record in records:
                validate_record(vars(record), where=f"problem {record.problem_id!r}")
            return records, summary, []
        except (ValueError, RuntimeError) as error:
            if is_of_the_machine(error):
                raise
            if len(problems) == 1:
                rejected = {
                    "problem_id": problems[0].problem_id,
                    "error": type(error).__name__,
                    "reason": _printable(str(error)),
                }
                log.warning("shard %d: rejected %s", shard, first_of([rejected]))
                return [], RolloutSummary.nothing(), [rejected]
            log.warning("shard %d: %s; its problems are rolled out one by one", shard, _printable(str(error)))
        alone = [self._roll_out([problem], shard) for problem in problems]
        return (
            [record for records, _, _ in alone for record in records],
            sum((summary for _, summary, _ in alone), RolloutSummary.nothing()),
            [each for _, _, rejected in alone for each in rejected],
        )

    def _killed(self) -> list[Any]:
        return self.grader.killed if isinstance(self.grader, Grader) else []

    def _ungraded(self, pair: Any, problems: Sequence[Problem]) -> Iterator[Json]:
        """A pair that the grader gave up on, for each problem with that gold answer."""
        for problem in problems:
            # Only answers that are read as MATH's take a worker.
            if extract_answer(problem.answer, "math") == pair.gold:
                found = {"gold": pair.gold, "prediction": _printable(pair.prediction), "reason": pair.reason}
                log.warning("problem %r: the grader gave up on %s", problem.problem_id, found)
                yield {"problem_id": problem.problem_id, **found}


def first_of(rejected: Sequence[Json]) -> str:
    """The first rejected problem and its reason, for messages."""
    return "problem {problem_id!r}: {error}: {reason}".format(**rejected[0])


def is_of_the_machine(error: Exception) -> bool:
    """True if an error of a kind that usually concerns one problem would hit every other problem as well."""
    import torch

    from erprm.engines.openai_client import ServerError
    from erprm.grading import WorkerStartError

    if isinstance(error, ServerError) and error.__cause__ is not None:
        return getattr(error.__cause__, "status_code", None) not in _REFUSES_ONE_REQUEST
    broken_gpu = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)  # new in torch 2.8
    return isinstance(error, (torch.OutOfMemoryError, broken_gpu, WorkerStartError, EngineError))


def _in_order(problems: Sequence[Problem], records: Sequence[RolloutRecord]) -> list[RolloutRecord]:
    of_problem = defaultdict(list)
    for record in records:
        of_problem[record.problem_id].append(record)
    return [record for problem in problems for record in of_problem[problem.problem_id]]


def _printable(text: str) -> str:
    """A text that can be written as UTF-8 and shown, whatever is in it, and is not endless."""
    return printable(text[:_LONGEST_REASON].encode("utf-8", "backslashreplace").decode())
