"""From problems to the records of one shard: sample, split, complete step prefixes, grade."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem
from erprm.engines.base import Completion, Engine, PromptError, TokenUsage, decode_after, request_seed
from erprm.engines.prompts import PromptFormat
from erprm.grading import BatchGrader, OutcomeGrader
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.completing import Completer, ProblemRollout, StepPrefix, StepRewards, complete_every_prefix
from erprm.rollout.labelling.prefixes import build_record, cut_solution
from erprm.rollout.labelling.summary import RolloutSummary


class FirstErrorSearch:
    """Bisection for the first wrong step of a wrong solution (OmegaPRM, arXiv 2406.06592).

    A prefix is good if some completion of it is right. In the exact probabilities the good prefixes of a solution come
    first: what can be reached from a prefix can be reached from every shorter one. So where they end is found by
    completing ``ceil(log2(steps))`` prefixes at most, instead of ``steps - 1``. K completions may miss a small chance
    of success; then the search ends at some step that no completion mended, after one that some completion did.

    Attributes:
        good: so many steps are good; at first none.
        bad: so many steps are not; at first all, as the solution is wrong. In the end step ``bad`` is the first error.
        asked: prefixes that were asked about, as numbers of steps.
    """

    def __init__(self, steps: int) -> None:
        self.good, self.bad = 0, steps
        self.asked: list[int] = []

    @property
    def probe(self) -> int | None:
        """Number of steps in the prefix to ask about next; None at the end."""
        return None if self.bad - self.good == 1 else (self.good + self.bad) // 2

    def tell(self, steps: int, *, good: bool) -> None:
        """Takes in whether the prefix of so many steps is good."""
        self.asked.append(steps)
        if good:
            self.good = steps
        else:
            self.bad = steps


def find_first_errors(
    rollouts: Sequence[ProblemRollout], completer: Completer, config: RolloutConfig
) -> Iterator[StepRewards]:
    """Completes the prefixes that bisection asks for.

    Nothing is completed for right solutions, and a right solution shows that a prefix of it is good.

    Returns:
        For each solution the rewards of its steps, without the last; no rewards where bisection did not ask. Where it
        asked, they are those of completions, or of right solutions that go through the prefix.
    """
    if config.samples_alike:
        for rollout in rollouts:
            rollout.let_solutions_stand(1, at_least=config.correct_threshold)
    searches = [
        (rollout, rollout.steps_of(solution), FirstErrorSearch(len(solution.steps)))
        for rollout in rollouts
        for solution in rollout.solutions
    ]
    outcomes = [outcome for rollout in rollouts for outcome in rollout.outcomes]
    going_on = [s for s, outcome in zip(searches, outcomes, strict=True) if outcome < config.correct_threshold]
    while going_on:
        unknown: dict[int, tuple[ProblemRollout, StepPrefix]] = {}
        for rollout, steps, search in going_on:
            if (step := _first_unknown(steps, search, config.correct_threshold)) is not None:
                unknown[id(step)] = rollout, step  # solutions may ask about the same prefix
        completer.complete([(*pair, config.completions_per_step) for pair in unknown.values()], config.seed)
        going_on = [s for s in going_on if s[2].probe is not None]
    for _, steps, search in searches:
        yield [_rewards(step) if number in search.asked else [] for number, step in enumerate(steps, 1)]


def _first_unknown(steps: Sequence[StepPrefix], search: FirstErrorSearch, threshold: float) -> StepPrefix | None:
    """Goes on with a search as far as is known; returns the prefix to complete next, None at the end."""
    while (probe := search.probe) is not None:
        step = steps[probe - 1]
        if not _rewards(step):
            return step
        search.tell(probe, good=max(_rewards(step)) >= threshold)
    return None


def _rewards(step: StepPrefix) -> list[float]:
    return [*step.solutions, *(draw.reward for draw in step.draws)]


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
