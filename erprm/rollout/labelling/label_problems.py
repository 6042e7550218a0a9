"""From problems to the records of one shard: sample, split, complete step prefixes, grade."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem
from erprm.engines.base import Completion, Engine, PromptError, TokenUsage, decode_after, request_seed
from erprm.engines.prompts import PromptFormat
from erprm.grading import BatchGrader, OutcomeGrader
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.bisection import find_first_errors
from erprm.rollout.labelling.completing import Completer, ProblemRollout, StepRewards, complete_every_prefix
from erprm.rollout.labelling.prefixes import build_record, cut_solution
from erprm.rollout.labelling.summary import RolloutSummary

_HOW_COMPLETED = ("reuse_solutions", "enough_successes", "bisection")


def roll_out(
    problems: Sequence[Problem], engine: Engine, grader: OutcomeGrader | BatchGrader, config: RolloutConfig
) -> tuple[list[RolloutRecord], RolloutSummary]:
    """The records of some problems, in the order of the problems, and what they cost.

    The completions of a prefix that several solutions of a problem share are sampled once and stand in each of them.
    """
    started, before = time.perf_counter(), TokenUsage(engine.usage.prompt, engine.usage.completion)
    completer = Completer(engine, grader, config)
    rollouts = _sample_solutions(problems, engine, completer, config)
    label = find_first_errors if config.bisection else complete_every_prefix
    records = _records(rollouts, label(rollouts, completer, config), engine.name, config)

    samples = [sample for rollout in rollouts for sample in rollout.samples]
    completed = [step for rollout in rollouts for step in rollout.prefixes.values() if step.completions]
    completions = [completion for step in completed for completion in step.completions]
    return records, RolloutSummary(
        problems=len(problems),
        solutions=len(samples),
        blank_solutions=len(samples) - len(records),
        truncated_solutions=_truncated(samples),
        correct_solutions=sum(record.correct for record in records),
        steps=sum(len(record.steps) for record in records),
        prefixes=len(completed),
        completions=len(completions),
        truncated_completions=_truncated(completions),
        unanswered=completer.unanswered,
        steps_by_successes=_steps_by_successes(records, config),
        prompt_tokens=engine.usage.prompt - before.prompt,
        completion_tokens=engine.usage.completion - before.completion,
        seconds=time.perf_counter() - started,
    )


def _sample_solutions(
    problems: Sequence[Problem], engine: Engine, completer: Completer, config: RolloutConfig
) -> list[ProblemRollout]:
    prompts = [problem_prompt(problem, engine, config.prompt) for problem in problems]
    samples_of_prompts = engine.generate(prompts, config.solution_sampling)
    cut = []
    for prompt_ids, samples in zip(prompts, samples_of_prompts, strict=True):

        def decode(token_ids: Sequence[int], prompt_ids: list[int] = prompt_ids) -> str:
            return decode_after(engine.tokenizer, prompt_ids, token_ids)

        of_problem = [
            cut_solution(sample, request_seed(config.seed, prompt_ids, k), config.style, decode)
            for k, sample in enumerate(samples)
        ]
        cut.append([solution for solution in of_problem if solution is not None])
    rewards = iter(
        completer.grade(
            [
                (solution.completion.text, problem.answer, solution.completion.finish_reason == "length")
                for problem, solutions in zip(problems, cut, strict=True)
                for solution in solutions
            ]
        )
    )
    return [
        ProblemRollout(problem, prompt_ids, samples, solutions, [next(rewards) for _ in solutions])
        for problem, prompt_ids, samples, solutions in zip(problems, prompts, samples_of_prompts, cut, strict=True)
    ]


def _records(
    rollouts: Sequence[ProblemRollout], step_rewards: Iterable[StepRewards], policy: str, config: RolloutConfig
) -> list[RolloutRecord]:
    sampling = {"solutions": asdict(config.solution_sampling), "completions": asdict(config.completion_sampling)}
    sampling |= {name: value for name in _HOW_COMPLETED if (value := getattr(config, name))}
    solutions = [
        (rollout.problem, solution, outcome)
        for rollout in rollouts
        for solution, outcome in zip(rollout.solutions, rollout.outcomes, strict=True)
    ]
    return [
        build_record(problem, solution, outcome, rewards, config.correct_threshold, policy, json.dumps(sampling))
        for (problem, solution, outcome), rewards in zip(solutions, step_rewards, strict=True)
    ]


def problem_prompt(problem: Problem, engine: Engine, prompt: PromptFormat) -> list[int]:
    """The prompt of a problem as tokens.

    Raises:
        PromptError: if the policy's context does not take it.
    """
    prompt_ids = prompt.token_ids(problem.question, engine.tokenizer)
    if not 0 < len(prompt_ids) < engine.max_length:
        raise PromptError(
            f"problem {problem.problem_id!r}: its prompt has {len(prompt_ids)} tokens; the policy's context of "
            f"{engine.max_length} takes 1 to {engine.max_length - 1}"
        )
    return prompt_ids


def _truncated(completions: Sequence[Completion]) -> int:
    return sum(completion.finish_reason == "length" for completion in completions)


def _steps_by_successes(records: Iterable[RolloutRecord], config: RolloutConfig) -> list[int]:
    """Number of completed steps by their share of correct completions, in parts of K."""
    K = config.completions_per_step
    steps = [0] * (K + 1)
    for record in records:
        for rewards in filter(None, record.rewards[:-1]):
            successes = sum(reward >= config.correct_threshold for reward in rewards)
            steps[round(K * successes / len(rewards))] += 1
    return steps
