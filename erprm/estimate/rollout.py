"""Estimate of a rollout run's output and cost, from a sample of its problems rolled out with the run's settings.

Shape suffixes: P probed problems, Q quantities.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import NormalDist
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from erprm.data.records import RolloutRecord, write_records
from erprm.data.sources import Problem
from erprm.engines.base import Completion, Engine, Prompt, Sampling, encode_prompt
from erprm.grading import BatchGrader, OutcomeGrader
from erprm.metrics.functional.resampling import bootstrap_interval
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.label_problems import roll_out
from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.shard_maker import is_of_the_machine

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEVEL = 0.95

Item = TypeVar("Item")


@dataclass(frozen=True)
class Expected:
    """A quantity of the whole run.

    Attributes:
        value: the estimate.
        low: lower end of its 95% interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Expected:
        """The same quantity in another unit."""
        return Expected(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class RolloutEstimate:
    """Estimated output and cost of a run.

    Attributes:
        problems: problems of the run.
        shards: Parquet files it writes.
        failing: problems that cannot be rolled out.
        solutions: solutions sampled.
        records: of these, with a step: the rows that are written.
        steps: steps of the records.
        prefixes: distinct step prefixes that are completed.
        completions: completions of prefixes.
        completion_tokens: tokens generated.
        solution_tokens: of these, those of solutions; the others are of completions of prefixes.
        prompt_tokens: tokens of prompts, each once however many completions it has.
        record_bytes: bytes that a record adds to a Parquet file.
        shard_bytes: bytes of a Parquet file beside those of its records.
        tokens_per_second: tokens generated in a second of the probe, with everything that is done beside it.
        probe: counts of the problems that were rolled out.
        first_failure: why the first of the problems that failed did; ``None`` if none has.
    """

    problems: int
    shards: int
    failing: Expected
    solutions: Expected
    records: Expected
    steps: Expected
    prefixes: Expected
    completions: Expected
    completion_tokens: Expected
    solution_tokens: Expected
    prompt_tokens: Expected
    record_bytes: float
    shard_bytes: float
    tokens_per_second: float
    probe: RolloutSummary
    first_failure: str | None

    @property
    def storage_bytes(self) -> Expected:
        """Bytes of all Parquet files."""
        of_records, of_shards = self.records.times(self.record_bytes), self.shards * self.shard_bytes
        return Expected(*(end + of_shards for end in (of_records.value, of_records.low, of_records.high)))

    @property
    def hours_here(self) -> Expected:
        """Hours of the run at the speed of the probe."""
        return self.completion_tokens.times(1 / self.tokens_per_second / 3600)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        derived = {"storage_bytes": asdict(self.storage_bytes), "hours_here": asdict(self.hours_here)}
        return {**asdict(self), **derived, "probe": self.probe.to_dict()}


@dataclass
class _Counts:
    """Counts from one problem."""

    solutions: int = 0
    records: int = 0
    steps: int = 0
    prefixes: set[tuple[int, ...]] = field(default_factory=set)
    completions: int = 0
    completion_tokens: int = 0
    solution_tokens: int = 0
    prompt_tokens: int = 0


def estimate_rollouts(
    problems: Iterable[Problem],
    engine: Engine,
    grader: OutcomeGrader | BatchGrader,
    config: RolloutConfig,
    probe: int,
    seed: int = 0,
    console: Console | None = None,
) -> RolloutEstimate:
    """Rolls some problems out and says what all of them will come to.

    The probed problems are drawn at random, without replacement, and rolled out by the function that does it in a run,
    with the run's own random streams: their records are those that the run will make. Nothing is kept on disk.

    A problem that a run would reject, such as one with a prompt that is too long, counts as failing, with nothing made
    of it.

    Args:
        problems: all problems of the run; they need not be all in memory.
        engine: the policy.
        grader: rewards outcomes.
        config: the settings of the run.
        probe: problems to roll out; all of them if there are fewer.
        seed: choice of the probed problems.
        console: where progress goes; the standard error stream by default.

    Raises:
        ValueError: if ``probe`` is below 2, or every probed problem fails, with the reason of the first.
    """
    if probe < 2:
        raise ValueError(f"probe is {probe}; it must be at least 2: one problem says nothing about how they differ")
    chosen, population = _draw(problems, probe, seed)
    probing = _Probing(engine, grader, config)
    description = f"{len(chosen):,} of {population:,} problems"
    parts = list(_balanced(chosen, config.problems_per_shard))
    for part in track(parts, description, console=console or Console(stderr=True)):
        probing.add(part)
    if not probing.summaries:
        raise ValueError(f"every one of the {len(chosen)} probed problems fails, the first: {probing.failures[0]}")
    summary = sum(probing.summaries, RolloutSummary.nothing())
    record_bytes, shard_bytes = _file_sizes(probing.records, config.problems_per_shard)
    expected = _expected_totals([probing.counts[problem.problem_id] for problem in chosen], population)
    return RolloutEstimate(
        problems=population,
        shards=-(-population // config.problems_per_shard),
        failing=_wilson_interval(len(probing.failures), len(chosen), population),
        **expected,
        record_bytes=record_bytes,
        shard_bytes=shard_bytes,
        tokens_per_second=summary.completion_tokens / summary.seconds,
        probe=summary,
        first_failure=probing.failures[0] if probing.failures else None,
    )


def _draw(problems: Iterable[Problem], count: int, seed: int) -> tuple[list[Problem], int]:
    """So many problems at random, in one pass (Vitter's algorithm R, 1985), and how many there are."""
    rng, drawn, seen = random.Random(seed), list[Problem](), 0
    for seen, problem in enumerate(problems, 1):
        if len(drawn) < count:
            drawn.append(problem)
        elif (place := rng.randrange(seen)) < count:
            drawn[place] = problem
    rng.shuffle(drawn)
    return drawn, seen


class _Probing:
    """Rolls problems out and keeps what each came to.

    Attributes:
        counts: of each problem, by its id; a problem that failed has none.
        records: of each problem that did not fail.
        summaries: of each call of :func:`roll_out`.
        failures: the reason of each problem that failed.
    """

    def __init__(self, engine: Engine, grader: OutcomeGrader | BatchGrader, config: RolloutConfig) -> None:
        self.counts: defaultdict[str, _Counts] = defaultdict(_Counts)
        self.records: list[list[RolloutRecord]] = []
        self.summaries: list[RolloutSummary] = []
        self.failures: list[str] = []
        self._engine, self._grader, self._config = engine, grader, config

    def add(self, problems: Sequence[Problem]) -> None:
        """Rolls the problems out together; if one of them fails, in halves, down to the one."""
        try:
            problem_of = {self._prompt_ids(problem): problem.problem_id for problem in problems}
            engine = _CountingEngine(self._engine, problem_of)
            records, summary = roll_out(problems, engine, self._grader, self._config)
        except (ValueError, RuntimeError) as error:
            if is_of_the_machine(error):
                raise
            if len(problems) == 1:
                self.failures.append(str(error))
            else:
                for half in _balanced(problems, -(-len(problems) // 2)):
                    self.add(half)
            return
        self.summaries.append(summary)
        records_of: dict[str, list[RolloutRecord]] = {problem.problem_id: [] for problem in problems}
        for record in records:
            records_of[record.problem_id].append(record)
        self.records.extend(records_of.values())
        for problem_id, of_problem in records_of.items():
            self.counts[problem_id] = replace(
                engine.counts[problem_id],
                records=len(of_problem),
                steps=sum(len(record.steps) for record in of_problem),
            )

    def _prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        return tuple(self._config.prompt.token_ids(problem.question, self._engine.tokenizer))


class _CountingEngine:
    """An engine that counts what is asked of another for each problem.

    Attributes:
        counts: by the problem's id.
    """

    def __init__(self, engine: Engine, problem_of: Mapping[tuple[int, ...], str]) -> None:
        """Takes the engine, and the problem that each prompt of a solution belongs to."""
        self.name, self.max_length, self.usage = engine.name, engine.max_length, engine.usage
        self.counts: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._engine = engine
        self._problem_of = problem_of
        self._lengths = sorted({len(prompt) for prompt in problem_of}, reverse=True)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self._engine.tokenizer

    def fingerprint(self) -> str:
        return self._engine.fingerprint()

    def close(self) -> None:
        self._engine.close()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        completions_of_prompts = self._engine.generate(prompts, sampling)
        for prompt, completions in zip(prompts, completions_of_prompts, strict=True):
            ids = tuple(encode_prompt(self.tokenizer, prompt))
            # Of two problems, one's prompt may be the beginning of the other's.
            start = next(ids[:length] for length in self._lengths if ids[:length] in self._problem_of)
            counts = self.counts[self._problem_of[start]]
            generated = sum(len(completion.token_ids) for completion in completions)
            counts.prompt_tokens += len(ids)
            counts.completion_tokens += generated
            if ids == start:
                counts.solutions += len(completions)
                counts.solution_tokens += generated
            else:
                counts.prefixes.add(ids)
                counts.completions += len(completions)
        return completions_of_prompts


def _expected_totals(counts: Sequence[_Counts], population: int) -> dict[str, Expected]:
    rows = [{**vars(of_problem), "prefixes": len(of_problem.prefixes)} for of_problem in counts]
    values_PQ = torch.tensor([list(row.values()) for row in rows], dtype=torch.float64)
    low_Q, high_Q = total_interval(values_PQ, population)
    values_Q = values_PQ.sum(0) * population / len(values_PQ)
    totals = zip(values_Q.tolist(), low_Q.tolist(), high_Q.tolist(), strict=True)
    return {name: Expected(*total) for name, total in zip(rows[0], totals, strict=True)}


def total_interval(values_PQ: Tensor, population: int) -> tuple[Tensor, Tensor]:
    """Interval of totals over a population, of which some members were drawn without replacement.

    The percentile bootstrap, its distances from the estimated total times ``sqrt((1 - P / N) P / (P - 1))``: what is
    drawn is known, and a bootstrap's variance is that of P - 1 (Cochran, Sampling Techniques, 1977, chapter 2).

    Args:
        values_PQ: values of those that were drawn, one column a quantity, shape [P, Q].
        population: N, members of the whole population; at least P.

    Returns:
        Lower and upper end, float64, shape [Q]; at N = P both are the sum.
    """
    drawn = len(values_PQ)
    total_Q = values_PQ.double().sum(0) * population / drawn
    factor = 0.0 if drawn == population else math.sqrt((1 - drawn / population) * drawn / (drawn - 1))
    ends = bootstrap_interval(values_PQ, LEVEL)
    low_Q, high_Q = (total_Q + factor * (population * end_Q - total_Q) for end_Q in ends)
    return low_Q, high_Q


def _wilson_interval(failed: int, drawn: int, population: int) -> Expected:
    """Failing members of a population, by Wilson's interval of a share (1927), which holds for 0 of P, too."""
    share = failed / drawn
    if drawn == population:
        return Expected(failed, failed, failed)
    z2 = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2 / drawn
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    low, high = (0.0 if failed == 0 else middle - half), (1.0 if failed == drawn else middle + half)
    return Expected(share, low, high).times(population)


def _file_sizes(records_of_problems: Sequence[list[RolloutRecord]], problems_per_shard: int) -> tuple[float, float]:
    """Bytes that a record adds to a Parquet file, and bytes of a file beside its records, from files that are written.

    Two files of half the records each are larger than one of all by what a file takes beside its records.
    """
    shards = list(_balanced(records_of_problems, problems_per_shard))
    whole = sum(_parquet_bytes(shard) for shard in shards)
    halves = sum(
        _parquet_bytes(shard[: len(shard) // 2]) + _parquet_bytes(shard[len(shard) // 2 :]) for shard in shards
    )
    of_files, count = halves - whole, sum(map(len, records_of_problems))
    return (whole - of_files) / count if count else 0.0, of_files / len(shards)


def _parquet_bytes(records_of_problems: Sequence[list[RolloutRecord]]) -> int:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "shard.parquet"
        write_records(chain.from_iterable(records_of_problems), path)
        return path.stat().st_size


def _balanced(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Parts of nearly the same length, of at most this many."""
    parts = -(-len(items) // most)
    for part in range(parts):
        yield items[len(items) * part // parts : len(items) * (part + 1) // parts]
