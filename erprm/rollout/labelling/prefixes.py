"""From a sampled solution to its step prefixes, and from the outcomes of their completions to a rollout record.

A prefix is made of the very tokens that were sampled, never of re-tokenised text, so its completions are on-policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from erprm.data.records import RolloutRecord
from erprm.data.sources import Problem
from erprm.engines.base import Completion
from erprm.steps import segment_steps

# The text of a beginning of a sample's tokens.
Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Prefix:
    """The beginning of a solution up to the end of a step, without the prompt: tokens as sampled, and their text."""

    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class SampledSolution:
    """A solution, its steps, and the prefixes that end with each step but the last.

    Attributes:
        completion: the sample as the engine gave it.
        seed: seed of its request.
        steps: texts of the steps; at least one.
        prefixes: one less than there are steps.
    """

    completion: Completion
    seed: int
    steps: tuple[str, ...]
    prefixes: tuple[Prefix, ...]


def cut_solution(completion: Completion, seed: int, style: str, decode: Decode) -> SampledSolution | None:
    """Splits a sample into steps and cuts its tokens at their ends.

    Returns:
        The solution; ``None`` if the text has no step.
    """
    split = segment_steps(completion.text, style)
    if not split.steps:
        return None
    token_ids = completion.token_ids
    decoded = cache(lambda count: decode(token_ids[:count]))
    counts = [
        _tokens_through(split.text, stop, next_start, decoded, len(token_ids))
        for (_, stop), next_start in zip(split.spans, split.ends[:-1], strict=False)
    ]
    prefixes = tuple(Prefix(token_ids[:count], _whole_characters(decoded(count), split.text)) for count in counts)
    return SampledSolution(completion, seed, split.steps, prefixes)


def would_be_cut_at(prefix: Prefix, completion: Completion, style: str, decode: Decode) -> bool:
    """True if a solution made of a prefix and its completion would have been cut at that prefix.

    It would not if, for instance, nothing but the final answer came next, which is no step of its own.
    """
    text = prefix.text + completion.text
    token_ids = (*prefix.token_ids, *completion.token_ids)
    split = segment_steps(text, style)
    decoded = cache(lambda count: decode(token_ids[:count]))
    return any(
        _tokens_through(text, stop, next_start, decoded, len(token_ids)) == len(prefix.token_ids)
        for (_, stop), next_start in reversed(list(zip(split.spans[:-1], split.ends[:-1], strict=True)))
        if stop <= len(prefix.text)
    )


def _tokens_through(text: str, stop: int, next_start: int, decoded: Callable[[int], str], total: int) -> int:
    """The tokens of a step and what is before it, with as much of the separator as does not touch the next step.

    A beginning of the tokens that ends within a character decodes to U+FFFD in its place, once or several times (with
    SentencePiece's byte tokens even in place of the whole characters before it), which is no beginning of the text.

    Args:
        text: the solution.
        stop: where the step ends in it.
        next_start: where the next step starts in it.
        decoded: text of a prefix of the tokens, by the number of tokens.
        total: how many tokens there are.
    """
    # A beginning is never decoded to fewer characters than are whole in it, so this stays at or before the place.
    low, high = 0, total
    while low < high:
        middle = (low + high + 1) // 2
        if len(decoded(middle)) <= next_start:
            low = middle
        else:
            high = middle - 1
    while low > 0 and not text.startswith(decoded(low)):
        low -= 1
    for count in range(low + 1, total + 1):
        if text.startswith(decoded(count)):
            if len(decoded(count)) > next_start:
                break
            low = count
    # A token that holds the end of this step and the beginning of the next belongs to both.
    while low < total and not decoded(low).startswith(text[:stop]):
        low += 1
    return low


def _whole_characters(decoded: str, text: str) -> str:
    """The decoded tokens without a character that they only begin; its completion brings the whole of it."""
    return decoded if text.startswith(decoded) else decoded.rstrip("\ufffd")


def distinct_prefixes(solutions: Sequence[SampledSolution]) -> list[Prefix]:
    """The prefixes of a problem's solutions, each once, in order of first appearance."""
    return list({prefix.token_ids: prefix for solution in solutions for prefix in solution.prefixes}.values())


def build_record(
    problem: Problem,
    solution: SampledSolution,
    reward: float,
    step_rewards: Sequence[list[float]],
    correct_threshold: float,
    policy: str,
    sampling: str,
) -> RolloutRecord:
    """The record of a solution, whose own outcome is the reward of its last step."""
    return RolloutRecord(
        problem_id=problem.problem_id,
        question=problem.question,
        answer=problem.answer,
        source=problem.source,
        steps=list(solution.steps),
        rewards=[*step_rewards, [reward]],
        correct=reward >= correct_threshold,
        policy=policy,
        sampling=sampling,
        seed=solution.seed,
    )
