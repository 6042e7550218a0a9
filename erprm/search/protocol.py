"""Interface of searches: a search asks for continuations of partial solutions and gets them back sampled and scored.

A search is written for one problem, as a generator. The searches of many problems run side by side (see
:mod:`erprm.search.searcher`), so that the policy and the scorer get large batches:

    def search(self, budget):
        solutions = []
        while budget.solutions:
            [[solution]] = yield Expand([START], whole=True)
            solutions.append(solution)
        return solutions
"""

from __future__ import annotations

import math
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from erprm.engines.base import FinishReason
from erprm.engines.prompts import PromptFormat


@dataclass(frozen=True)
class PartialSolution:
    """A solution as far as it is written.

    Attributes:
        token_ids: its tokens as they were sampled, without the prompt.
        text: their text, without the end-of-text token or the stop string that ended the solution.
        steps: the steps in it.
        step_scores: the scorer's score of each.
        score: all of them aggregated; ``-inf`` where there is no step, and where a cascade has filtered it out.
        end: why it ended: ``stop`` if the policy ended it, ``length`` if it was cut off; None if it goes on.
        answer: its final answer once it has ended, as a key that is equal for answers that vote together; None where
            there is none.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    steps: tuple[str, ...] = ()
    step_scores: tuple[float, ...] = ()
    score: float = -math.inf
    end: FinishReason | None = None
    answer: Hashable | None = None

    @property
    def last_score(self) -> float:
        """Score of the last step; ``-inf`` where there is none."""
        return self.step_scores[-1] if self.step_scores else -math.inf


@dataclass(frozen=True)
class Decoding:
    """Settings for sampling from a policy.

    Attributes:
        prompt: how a question becomes a prompt.
        style: how the steps of a solution are separated (see :func:`erprm.steps.segment_steps`).
        step_ends: strings after which a step may have ended; there the policy pauses.
        stop: strings that end a solution.
        temperature: divides the logits.
        top_p: mass of most likely tokens to sample from.
        max_tokens: the most tokens of a solution.
        max_step_tokens: the most tokens of a step.
    """

    prompt: PromptFormat
    style: str
    step_ends: tuple[str, ...]
    stop: tuple[str, ...]
    temperature: float
    top_p: float
    max_tokens: int
    max_step_tokens: int


START = PartialSolution()
"""Nothing but the prompt."""


@dataclass(frozen=True)
class Expand:
    """Request of a search for continuations.

    The same request, made again, gives new samples.

    Attributes:
        partials: what to continue; they all differ, and none of them has ended.
        n: continuations of each.
        whole: continue to the end of the solution, not of the next step.
        greedy: take the most likely token each time; only with ``n`` 1.
    """

    partials: Sequence[PartialSolution]
    n: int = 1
    whole: bool = False
    greedy: bool = False


@dataclass
class Budget:
    """The tokens that the policy may generate for one problem, and what has become of them.

    Attributes:
        tokens: all of them.
        max_tokens: the most tokens of a solution.
        max_step_tokens: the most tokens of a step.
        spent: tokens generated so far, whatever was kept of them.
        scored: partial solutions that the scorer has been given so far.
        seed: for random numbers of the search's own; another for each problem, and for each seed of a run.
    """

    tokens: int
    max_tokens: int
    max_step_tokens: int
    spent: int = 0
    scored: int = 0
    seed: int = 0

    @property
    def left(self) -> int:
        """Tokens that may still be generated."""
        return self.tokens - self.spent

    @property
    def solutions(self) -> int:
        """Solutions that can be begun now and be written to their end, however long they become."""
        return self.left // self.max_tokens

    def spare_steps(self, partials: Sequence[PartialSolution]) -> int:
        """Steps that can be sampled beside the tokens it may take to end one of the partial solutions, whichever."""
        to_end_one = self.max_tokens - min(len(partial.token_ids) for partial in partials)
        return max(0, self.left - to_end_one) // self.max_step_tokens

    def most_tokens(self, partial: PartialSolution, whole: bool) -> int:
        """The most tokens of a continuation."""
        rest = self.max_tokens - len(partial.token_ids)
        return rest if whole else min(rest, self.max_step_tokens)

    def cost(self, request: Expand) -> int:
        """The most tokens that a request can take."""
        return request.n * sum(self.most_tokens(partial, request.whole) for partial in request.partials)


SearchSteps: TypeAlias = Generator[Expand, list[list[PartialSolution]], list[PartialSolution]]
"""Yields requests; gets for each of the partial solutions its continuations; returns solutions that have ended."""


@runtime_checkable
class Search(Protocol):
    """A way to spend a budget of tokens on a problem."""

    def search(self, budget: Budget) -> SearchSteps:
        """Searches for a solution of one problem.

        Args:
            budget: what may be spent, kept up to date between requests. A request that might exceed it is an error.

        Returns:
            The candidates: at least one solution that has ended. The one with the highest score will be the answer.
        """
        ...
