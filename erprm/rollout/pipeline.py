"""From problems to rollout records, shard by shard.

For each shard of problems: sample solutions, split them into steps, complete every distinct step prefix K times, grade
all final answers, write the records. Nothing is kept from one shard to the next, so memory does not grow with a run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field

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

from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem, load_problems
from erprm.grading import BatchGrader, OutcomeGrader, open_grader, outcome_rewards
from erprm.rollout.config import RolloutConfig
from erprm.rollout.engine import Completion, Engine, PromptError, TokenUsage, decode_after, request_seed
from erprm.rollout.prefixes import Prefix, SampledSolution, build_record, cut_solution, distinct_prefixes
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
                engine = stack.enter_context(closing(load_engine(config)))
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


def load_engine(config: RolloutConfig) -> Engine:
    """The engine a configuration names, with its model loaded."""
    from erprm.rollout.transformers_engine import TransformersEngine

    return TransformersEngine(config.model, config.gguf_file, config.batch_size, config.device, config.dtype)


@dataclass
class _ProblemRollout:
    """A problem on its way to records."""

    problem: Problem
    prompt_ids: list[int]
    samples: list[Completion]
    solutions: list[SampledSolution]
    prefixes: list[Prefix]
    completions: list[list[Completion]] = field(default_factory=list)  # of each prefix

    def graded_texts(self) -> Iterator[tuple[str, str]]:
        """Every whole text whose answer counts, with the gold answer."""
        for solution in self.solutions:
            yield solution.completion.text, self.problem.answer
        for prefix, completions in zip(self.prefixes, self.completions, strict=True):
            for completion in completions:
                yield prefix.text + completion.text, self.problem.answer


def roll_out(
    problems: Sequence[Problem], engine: Engine, grader: OutcomeGrader | BatchGrader, config: RolloutConfig
) -> tuple[list[RolloutRecord], RolloutSummary]:
    """The records of some problems, in the order of the problems, and what they cost.

    The completions of a prefix that several solutions of a problem share are sampled once and stand in each of them.
    """
    started, before = time.perf_counter(), TokenUsage(engine.usage.prompt, engine.usage.completion)
    rollouts = _sample_solutions(problems, engine, config)
    _complete_prefixes(rollouts, engine, config)
    texts = list(dict.fromkeys(text for rollout in rollouts for text in rollout.graded_texts()))
    reward_of = dict(zip(texts, outcome_rewards(grader, texts, config.grading_kind, "grading"), strict=True))

    records = [record for rollout in rollouts for record in _records(rollout, reward_of, engine.name, config)]
    samples = [sample for rollout in rollouts for sample in rollout.samples]
    completions = [each for rollout in rollouts for of_prefix in rollout.completions for each in of_prefix]
    steps_by_successes = [0] * (config.completions_per_step + 1)
    for record in records:
        for rewards in record.rewards[:-1]:
            steps_by_successes[sum(reward >= config.correct_threshold for reward in rewards)] += 1
    return records, RolloutSummary(
        problems=len(problems),
        solutions=len(samples),
        blank_solutions=len(samples) - len(records),
        truncated_solutions=_truncated(samples),
        correct_solutions=sum(record.correct for record in records),
        steps=sum(len(record.steps) for record in records),
        prefixes=sum(len(rollout.prefixes) for rollout in rollouts),
        completions=len(completions),
        truncated_completions=_truncated(completions),
        steps_by_successes=steps_by_successes,
        prompt_tokens=engine.usage.prompt - before.prompt,
        completion_tokens=engine.usage.completion - before.completion,
        seconds=time.perf_counter() - started,
    )


def _sample_solutions(problems: Sequence[Problem], engine: Engine, config: RolloutConfig) -> list[_ProblemRollout]:
    prompts = [_prompt_ids(problem, engine, config) for problem in problems]
    rollouts = []
    samples_of_prompts = engine.generate(prompts, config.solution_sampling)
    for problem, prompt_ids, samples in zip(problems, prompts, samples_of_prompts, strict=True):

        def decode(token_ids: Sequence[int], prompt_ids: list[int] = prompt_ids) -> str:
            return decode_after(engine.tokenizer, prompt_ids, token_ids)

        cut = [
            cut_solution(sample, request_seed(config.seed, prompt_ids, k), config.style, decode)
            for k, sample in enumerate(samples)
        ]
        solutions = [solution for solution in cut if solution is not None]
        rollouts.append(_ProblemRollout(problem, prompt_ids, samples, solutions, distinct_prefixes(solutions)))
    return rollouts


def _complete_prefixes(rollouts: Sequence[_ProblemRollout], engine: Engine, config: RolloutConfig) -> None:
    prompts = [[*rollout.prompt_ids, *prefix.token_ids] for rollout in rollouts for prefix in rollout.prefixes]
    completions = iter(engine.generate(prompts, config.completion_sampling))
    for rollout in rollouts:
        rollout.completions = [next(completions) for _ in rollout.prefixes]


def _records(
    rollout: _ProblemRollout, reward_of: Mapping[tuple[str, str], float], policy: str, config: RolloutConfig
) -> list[RolloutRecord]:
    answer = rollout.problem.answer
    rewards_of = {
        prefix.token_ids: [reward_of[prefix.text + completion.text, answer] for completion in completions]
        for prefix, completions in zip(rollout.prefixes, rollout.completions, strict=True)
    }
    sampling = json.dumps(
        {"solutions": asdict(config.solution_sampling), "completions": asdict(config.completion_sampling)}
    )
    return [
        build_record(
            rollout.problem,
            solution,
            reward_of[solution.completion.text, answer],
            rewards_of,
            config.correct_threshold,
            policy,
            sampling,
        )
        for solution in rollout.solutions
    ]


def _prompt_ids(problem: Problem, engine: Engine, config: RolloutConfig) -> list[int]:
    prompt_ids = config.prompt.token_ids(problem.question, engine.tokenizer)
    if not 0 < len(prompt_ids) < engine.max_length:
        raise PromptError(
            f"problem {problem.problem_id!r}: its prompt has {len(prompt_ids)} tokens; the policy's context of "
            f"{engine.max_length} takes 1 to {engine.max_length - 1}"
        )
    return prompt_ids


def _truncated(completions: Sequence[Completion]) -> int:
    return sum(completion.finish_reason == "length" for completion in completions)


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
