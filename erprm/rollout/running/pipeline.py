"""From problems to rollout records, shard by shard.

Nothing but a few bytes a shard is kept from one shard to the next, so memory hardly grows with a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Task

from erprm.data.sources import Problem, ProblemSource
from erprm.engines.base import Engine
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.executors import open_executor
from erprm.rollout.running.problem_shards import ProblemShards
from erprm.rollout.running.reports import write_reports
from erprm.rollout.running.shard_maker import ShardWork, TooManyRejectedError, first_of
from erprm.rollout.running.shards import ShardMark, ShardStore
from erprm.runs.lock import sole_use
from erprm.runs.progress import progress_bar

# A run goes on at least until it has rejected more problems than these, however few it has tried by then.
_FEW_REJECTED = 10


def run_rollouts(
    config: RolloutConfig,
    engine: Engine | None = None,
    problems: Iterable[Problem] | None = None,
    console: Console | None = None,
) -> RolloutSummary:
    """Makes the rollout records of a configuration, or the part of them that is still missing.

    Args:
        config: the settings.
        engine: the policy; by default the one ``config`` names is loaded, and released at the end.
        problems: the problems, a list or anything else that can be iterated over several times; by default those of
            ``config.source``, which are never all in memory.
        console: where progress and the closing summary go; the standard error stream by default.

    Returns:
        The counts of the whole run, parts made earlier included; also written to ``summary.json``. With
        ``config.shard``, those of that part as long as other parts are not done.

    Raises:
        OutputFolderError: if ``config.output_dir`` holds a run with other settings.
        InUseError: if another command is writing into it, unless both make parts of one run.
        TooManyRejectedError: if more problems than ``config.max_rejected_share`` cannot be rolled out.
        ValueError: if there is no problem, or two share an id.
        FileNotFoundError: if the model or the problems do not exist.
    """
    if problems is None:
        problems = ProblemSource(config.source, config.path, config.split, config.limit)
    part = config.part
    with sole_use(Path(config.output_dir), f"{part.index}-of-{part.count}" if part.count > 1 else None):
        return _run(config, engine, problems, console or Console(stderr=True))


def _run(config: RolloutConfig, engine: Engine | None, problems: Iterable[Problem], console: Console) -> RolloutSummary:
    shards = ProblemShards(problems, config.problems_per_shard)
    settings = {**config.content_settings(), "problems_sha256": shards.sha256}
    is_shared = config.part.count > 1
    store = ShardStore(config.output_dir, settings, len(shards), is_shared)

    numbers = config.part.shards(len(shards))
    store.sweep(numbers)
    tally = _Tally(config, sum(map(shards.count_of, numbers)), shards.count)
    missing = []
    for shard in numbers:
        mark = store.mark_of(shard)
        if mark is None or (config.retry_rejected and (mark.rejected or mark.ungraded)):
            missing.append(shard)
        else:
            tally.add(mark)
    try:
        tally.check()
        if missing:
            _make(missing, ShardWork(config, shards, store), engine, tally, console)
    except TooManyRejectedError:
        write_reports(store, shared=is_shared)
        raise
    summary = write_reports(store, shared=is_shared)
    if summary is None:
        assert is_shared, "every shard was made"
        console.print(
            f"Part {config.part} is done, other parts of the run are not; the last of them writes summary.json."
        )
    console.print((summary or tally.counts).render())
    return summary or tally.counts


def _make(missing: list[int], work: ShardWork, engine: Engine | None, tally: _Tally, console: Console) -> None:
    with ExitStack() as stack:
        executor = stack.enter_context(closing(open_executor(work, engine)))

        def speed(task: Task) -> str:
            return f"{executor.completion_tokens / task.elapsed if task.elapsed else 0.0:,.0f} tokens/s"

        # A shard takes minutes: of the usual 30 seconds none would see two of them, and no time left would be shown.
        progress = stack.enter_context(progress_bar(console, "problems", speed, speed_period=3600))
        task = progress.add_task("rollouts", total=tally.total, completed=tally.tried)
        for mark in executor.run(missing):
            tally.add(mark)
            progress.update(task, completed=tally.tried)
            tally.check()


@dataclass
class _Tally:
    """Progress of a part of a run so far, and a check that not too many problems were rejected."""

    config: RolloutConfig
    total: int
    of_run: int
    counts: RolloutSummary = field(default_factory=RolloutSummary.nothing)
    first: str = ""

    @property
    def tried(self) -> int:
        return self.counts.problems + self.counts.rejected_problems

    def add(self, mark: ShardMark) -> None:
        self.counts += RolloutSummary(**mark.counts)
        if mark.rejected and not self.first:
            self.first = first_of(mark.rejected)

    def check(self) -> None:
        """Raises if so many are rejected that it cannot be right, by now or at the end.

        One is always allowed, all of the run never.
        """
        share = self.config.max_rejected_share
        by_now = max(_FEW_REJECTED, share * self.tried)
        at_the_end = min(max(1, share * self.total), self.of_run - 1)
        rejected = self.counts.rejected_problems
        if rejected > min(by_now, at_the_end):
            raise TooManyRejectedError(
                f"{rejected} of {self.tried} problems tried could not be rolled out, more than "
                f"max_rejected_share={share} allows of {self.total}. The first is {self.first}\n"
                f"All of them are listed in {self.config.output_dir!r}, and the records of the others are kept. "
                "Correct what is wrong and run the same command with --retry_rejected true, or continue without them "
                "with a larger --max_rejected_share."
            )
