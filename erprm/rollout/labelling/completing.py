"""Completing the step prefixes of problems, grading the results, and choosing the draws that make up each label.

Labels are plain means of what is stored (of ``exp(eta * r)``, for whichever eta a training takes), so every choice
here must leave that mean unbiased. docs/fewer-tokens.md has the proofs.

**Solutions as completions.** A solution was sampled from the policy, and what it wrote after one of its prefixes is a
completion of that prefix. But the prefix is there because *this* solution was cut there and went on with another step:
it was selected. Completions that were sampled for the prefix tell whether that matters. Solutions are counted if each
of these, too, would have given the prefix, and left out otherwise.

**Enough successes.** With ``enough`` a prefix is completed until so many completions are correct (inverse binomial
sampling, Haldane 1945). The last of them is always a success and is left out, which makes the mean of the others
unbiased (Girshick, Mosteller and Savage 1946).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from erprm.data.sources import Problem
from erprm.engines.base import Completion, Engine, decode_after, request_seed
from erprm.grading import BatchGrader, Grader, OutcomeGrader, extract_answer, outcome_rewards
from erprm.rollout.config import RolloutConfig
from erprm.rollout.labelling.prefixes import Prefix, SampledSolution, distinct_prefixes, would_be_cut_at


@dataclass(frozen=True)
class Draw:
    """One completion sampled for a prefix.

    Attributes:
        reward: its outcome.
        gives_prefix: whether a solution that had gone on like this would have been cut at the prefix, and been whole.
    """

    reward: float
    gives_prefix: bool


@dataclass(frozen=True)
class Allocation:
    """The rule by which a prefix gets completions.

    Attributes:
        most: completions at most, solutions that stand for some included.
        enough: correct completions that end it earlier, at least 2; None for no such end.
        threshold: reward from which a completion counts as correct.
    """

    most: int
    enough: int | None
    threshold: float

    @property
    def most_solutions(self) -> int:
        """Most solutions that may count as completions: half, as they may have to be left out in the end."""
        return self.most // 2 if self.enough is None else min(self.enough // 2, self.enough - 2)

    def wanted(self, solutions: Sequence[float], draws: Sequence[Draw]) -> int:
        """Minimum number of completions still to sample before the prefix can be done; 0 once it is.

        Args:
            solutions: outcomes of solutions that go through the prefix, at most ``most_solutions``.
            draws: completions sampled so far.
        """
        left = self.most - len(solutions) - len(draws)
        return left if self.enough is None else min(left, self.enough - self._successes(solutions, draws))

    def rewards(self, solutions: Sequence[float], draws: Sequence[Draw]) -> list[float]:
        """Rewards to store for a finished prefix; see :meth:`wanted` for the arguments."""
        kept = [draw.reward for draw in draws]
        if self.enough is not None and self._successes(solutions, draws) == self.enough:
            kept.pop()
        return [*solutions, *kept] if all(draw.gives_prefix for draw in draws) else kept

    def _successes(self, solutions: Sequence[float], draws: Sequence[Draw]) -> int:
        return sum(reward >= self.threshold for reward in (*solutions, *(draw.reward for draw in draws)))


StepRewards = list[list[float]]


@dataclass
class StepPrefix:
    """A distinct step prefix of a problem, and what its label is made of.

    Attributes:
        prefix: its tokens and text.
        solutions: outcomes of solutions that may stand for completions of it.
        completions: what was sampled for it.
        draws: the same, graded.
    """

    prefix: Prefix
    solutions: list[float] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)


@dataclass
class ProblemRollout:
    """A problem on its way to records.

    Attributes:
        problem: the problem.
        prompt_ids: its prompt.
        samples: the solutions as they were sampled.
        solutions: those of them that have a step.
        outcomes: the reward of each solution.
        prefixes: the distinct step prefixes of all solutions, by their tokens.
    """

    problem: Problem
    prompt_ids: list[int]
    samples: list[Completion]
    solutions: list[SampledSolution]
    outcomes: list[float]
    prefixes: dict[tuple[int, ...], StepPrefix] = field(init=False)

    def __post_init__(self) -> None:
        self.prefixes = {prefix.token_ids: StepPrefix(prefix) for prefix in distinct_prefixes(self.solutions)}

    def steps_of(self, solution: SampledSolution) -> list[StepPrefix]:
        """The prefixes of a solution: one less than it has steps."""
        return [self.prefixes[prefix.token_ids] for prefix in solution.prefixes]

    def let_solutions_stand(self, most: int, *, at_least: float = 0.0) -> None:
        """Lets solutions stand for completions of their prefixes.

        Args:
            most: at most this many solutions a prefix, the first ones.
            at_least: only solutions with at least this reward.
        """
        for solution, outcome in zip(self.solutions, self.outcomes, strict=True):
            # One that was cut off might have become anything had it had as many tokens as a completion has.
            if solution.completion.finish_reason == "stop" and outcome >= at_least:
                for step in self.steps_of(solution):
                    if len(step.solutions) < most:
                        step.solutions.append(outcome)


class Completer:
    """Samples completions of prefixes and grades them."""

    def __init__(self, engine: Engine, grader: OutcomeGrader | BatchGrader, config: RolloutConfig) -> None:
        self._engine, self._grader, self._config = engine, grader, config
        self._reward_of: dict[tuple[str, str, bool], float] = {}
        self.unanswered = 0

    def grade(self, texts: Sequence[tuple[str, str, bool]]) -> list[float]:
        """Outcomes of texts, each with its gold answer and whether it was cut off; equal ones are graded once.

        `unanswered` counts the texts that were cut off before they stated an answer; they are wrong.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._reward_of]
        pairs, cut_off = [text[:2] for text in new], [text[2] for text in new]
        kind = self._config.grading_kind
        rewards = outcome_rewards(self._grader, pairs, kind, "grading", cut_off)
        self._reward_of.update(zip(new, rewards, strict=True))
        if isinstance(self._grader, Grader):
            self.unanswered += sum(
                cut_off and extract_answer(text, kind, truncated=True) is None for text, _, cut_off in texts
            )
        return [self._reward_of[text] for text in texts]

    def complete(self, wanted: Iterable[tuple[ProblemRollout, StepPrefix, int]], seed: int) -> None:
        """Adds completions to prefixes, to each as many as stand behind it."""
        by_count: dict[int, list[tuple[ProblemRollout, StepPrefix]]] = defaultdict(list)
        for rollout, step, count in wanted:
            by_count[count].append((rollout, step))
        sampled = []
        for count, steps in by_count.items():
            prompts = [[*rollout.prompt_ids, *step.prefix.token_ids] for rollout, step in steps]
            sampling = replace(self._config.completion_sampling, n=count, seed=seed)
            for (rollout, step), completions in zip(steps, self._engine.generate(prompts, sampling), strict=True):
                sampled += [(rollout, step, completion) for completion in completions]
        rewards = self.grade(
            [
                (step.prefix.text + c.text, rollout.problem.answer, c.finish_reason == "length")
                for rollout, step, c in sampled
            ]
        )
        for (rollout, step, completion), reward in zip(sampled, rewards, strict=True):
            step.completions.append(completion)
            # Asked only where a solution may stand for completions: it takes some decoding.
            gives_prefix = bool(step.solutions) and self._gives_prefix(rollout, step.prefix, completion)
            step.draws.append(Draw(reward, gives_prefix))

    def _gives_prefix(self, rollout: ProblemRollout, prefix: Prefix, completion: Completion) -> bool:
        """True if a solution that went on like this would have ended, and would have been cut at the prefix."""
        return (
            completion.finish_reason == "stop"
            and len(prefix.token_ids) + len(completion.token_ids) <= self._config.max_tokens
            # A stop string that begins in the prefix ends a solution, but not a completion.
            and not any(string in prefix.text + completion.text for string in self._config.stop)
            and would_be_cut_at(
                prefix,
                completion,
                self._config.style,
                lambda token_ids: decode_after(self._engine.tokenizer, rollout.prompt_ids, token_ids),
            )
        )


def complete_every_prefix(
    rollouts: Sequence[ProblemRollout], completer: Completer, config: RolloutConfig
) -> Iterator[StepRewards]:
    """Completes every distinct prefix.

    Returns:
        For each solution the rewards of its steps, without the last.
    """
    allocation = Allocation(config.completions_per_step, config.enough_successes, config.correct_threshold)
    steps = [(rollout, step) for rollout in rollouts for step in rollout.prefixes.values()]
    if config.reuse_solutions and config.samples_alike:
        for rollout in rollouts:
            rollout.let_solutions_stand(allocation.most_solutions)
    seed = config.seed
    while wanted := [
        (rollout, step, count) for rollout, step in steps if (count := allocation.wanted(step.solutions, step.draws))
    ]:
        completer.complete(wanted, seed)
        # The same seed would give the same completions again.
        seed = request_seed(seed, (), 0)
    for rollout in rollouts:
        for solution in rollout.solutions:
            yield [allocation.rewards(step.solutions, step.draws) for step in rollout.steps_of(solution)]
