"""From problems to the records of one shard: sample, split, complete every distinct step prefix, grade."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem
from erprm.grading import BatchGrader, OutcomeGrader, outcome_rewards
from erprm.rollout.config import RolloutConfig
from erprm.rollout.engine import Completion, Engine, PromptError, TokenUsage, decode_after, request_seed
from erprm.rollout.prefixes import Prefix, SampledSolution, build_record, cut_solution, distinct_prefixes
from erprm.rollout.summary import RolloutSummary


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
