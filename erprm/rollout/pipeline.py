"""From problems to rollout records, shard by shard.

Nothing is kept from one shard to the next, so memory does not grow with a run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from erprm.data.sources import Problem, load_problems
from erprm.grading import open_grader
from erprm.rollout.config import RolloutConfig
from erprm.rollout.engine import Engine, TokenUsage
from erprm.rollout.engines import open_engine
from erprm.rollout.roll_out import roll_out
from erprm.rollout.shards import ShardStore, write_json_atomically
from erprm.rollout.summary import RolloutSummary

log = logging.getLogger(__name__)


def run_rollouts(
    config: RolloutConfig,
    engine: Engine | None = None,
    problems: Sequence[Problem] | None = None,
    console: Console | None = None,
) -> RolloutSummary:
    """Makes the rollout records of a configuration, or the part of them that is still missing.

    Args:
        config: the settings.
        engine: the policy; by default the one ``config`` names is loaded, and released at the end.
        problems: the problems; by default those of ``config.source``.
        console: where progress and the closing summary go; the standard error stream by default.

    Returns:
        The counts of the whole run, parts made earlier included; also written to ``summary.json``.

    Raises:
        OutputFolderError: if ``config.output_dir`` holds a run with other settings.
        PromptError: if a problem's prompt leaves no room for a solution; names the problem.
        FileNotFoundError: if the model or the problems are not there.
    """
    console = console or Console(stderr=True)
    if problems is None:
        problems = load_problems(config.source, config.path, config.split, config.limit)
    if not problems:
        raise ValueError(f"source {config.source!r} with path {config.path!r} has no problem; at least one is needed")
    size = config.problems_per_shard
    shards = [problems[start : start + size] for start in range(0, len(problems), size)]
    settings = {**config.content_settings(), "problems_sha256": _problems_hash(problems)}
    store = ShardStore(config.output_dir, settings, len(shards))

    counts_of = {shard: counts for shard in range(len(shards)) if (counts := store.counts_of(shard)) is not None}
    if len(counts_of) < len(shards):
        with ExitStack() as stack:
            if engine is None:
                engine = stack.enter_context(closing(open_engine(config)))
            store.begin(model_sha256=engine.fingerprint())
            grader = stack.enter_context(open_grader(config.grading, "grading"))
            progress = stack.enter_context(_progress_bar(engine.usage, console))
            done_before = sum(counts["problems"] for counts in counts_of.values())
            task = progress.add_task("rollouts", total=len(problems), completed=done_before)
            for shard, problems_of_shard in enumerate(shards):
                if shard not in counts_of:
                    records, summary = roll_out(problems_of_shard, engine, grader, config)
                    counts_of[shard] = asdict(summary)
                    store.write(shard, records, counts_of[shard])
                    progress.advance(task, len(problems_of_shard))
                    log.info("shard %d of %d written: %d records", shard + 1, len(shards), len(records))

    summary = RolloutSummary.of_shards(counts_of.values())
    write_json_atomically(summary.to_dict(), store.folder / "summary.json")
    console.print(summary.render())
    return summary


def _problems_hash(problems: Sequence[Problem]) -> str:
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(asdict(problem), sort_keys=True).encode())
    return digest.hexdigest()


class _TokensPerSecond(ProgressColumn):
    """Tokens the engine generated in a second, since the bar began."""

    def __init__(self, usage: TokenUsage) -> None:
        super().__init__()
        self._usage, self._before = usage, usage.completion

    def render(self, task: Task) -> Text:
        rate = (self._usage.completion - self._before) / task.elapsed if task.elapsed else 0.0
        return Text(f"{rate:,.0f} tokens/s")


def _progress_bar(usage: TokenUsage, console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("problems"),
        _TokensPerSecond(usage),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        # A shard takes minutes: the usual 30 seconds would never see two of them, and show no time left.
        speed_estimate_period=3600,
    )
