"""Answers to a batch of requests: those with the same search and sampling share calls of the policy and the scorer."""

from __future__ import annotations

import functools
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from erprm.data.sources import Problem
from erprm.engines.base import Engine, EngineError, check_lengths, encode_prompt
from erprm.grading import Kind
from erprm.metrics.functional.aggregation import Aggregation, aggregate_solutions
from erprm.scoring import StepScorer, checked_scores, refuse_nan
from erprm.search.cascade import Cascade
from erprm.search.protocol import Decoding
from erprm.search.searcher import Searcher, SearchResult, chosen_candidate
from erprm.serve.requests import Asked, Terms, ToScore
from erprm.serve.worker import Job

Result = TypeVar("Result")

# JavaScript, which may read a seed and send it back, has no integers of more than 53 bits.
_SEED_BITS = 53


@dataclass(frozen=True)
class Answer:
    """What was found for a question.

    Attributes:
        result: of the search.
        order: places of its candidates, the answer first, then the best.
        prompt_tokens: tokens of the policy's prompt.
        seed: of the samples.
    """

    result: SearchResult
    order: list[int]
    prompt_tokens: int
    seed: int


@dataclass(frozen=True)
class StepScores:
    """The scores of a solution.

    Attributes:
        of_steps: one a step.
        score: all of them aggregated; None without a step.
    """

    of_steps: list[float]
    score: float | None


@dataclass
class _Group:
    """Jobs that one call of the searcher answers."""

    seed: int
    jobs: list[tuple[Job, list[int]]] = field(default_factory=list)


class Solver:
    """Owns the policy and the scorer; to be called in one thread only.

    Args:
        engine: the policy.
        scorer: what scores steps.
        terms: on which requests are answered.
        aggregation: score of a solution from those of its steps.
        kind: how final answers are read, for votes and searches that look at them.
        cascade: a second scorer, which chooses among the best candidates.
    """

    def __init__(
        self,
        engine: Engine,
        scorer: StepScorer,
        terms: Terms,
        aggregation: Aggregation,
        kind: Kind,
        cascade: Cascade | None = None,
    ) -> None:
        self._engine, self._scorer, self._terms = engine, scorer, terms
        self._aggregation: Aggregation = aggregation
        self._kind: Kind = kind
        self._cascade = cascade
        # A searcher knows whether a step has ever ended under its decoding.
        self._searcher = functools.lru_cache(maxsize=32)(self._make_searcher)

    def __call__(self, jobs: Sequence[Job]) -> None:
        """Gives every job an :class:`Answer`, a list of :class:`StepScores`, or an error."""
        scorings = [job for job in jobs if isinstance(job.asked, ToScore)]
        if scorings:
            _each_its_own(scorings, self._score)
        for group in self._groups([job for job in jobs if isinstance(job.asked, Asked)]):
            prompts = {id(job): prompt_ids for job, prompt_ids in group.jobs}
            _each_its_own([job for job, _ in group.jobs], functools.partial(self._search, prompts, group.seed))

    def _make_searcher(self, decoding: Decoding) -> Searcher:
        return Searcher(self._engine, self._scorer, decoding, self._aggregation, self._kind, self._cascade)

    def _groups(self, jobs: Sequence[Job]) -> list[_Group]:
        groups: dict[object, _Group] = {}
        times: Counter[object] = Counter()
        for job in jobs:
            asked: Asked = job.asked
            try:
                prompt_ids = self._prompt_ids(asked)
            except Exception as error:  # noqa: BLE001 - whatever it is, the job is told
                job.future.set_exception(error)
                continue
            alike = (repr(asked.strategy.search), asked.decoding, asked.budget, asked.seed)
            # Without a seed, the same question asked twice gets samples of its own each time.
            same = (alike, tuple(prompt_ids))
            times[same] += asked.seed is None
            seed = secrets.randbits(_SEED_BITS) if asked.seed is None else asked.seed
            groups.setdefault((alike, times[same]), _Group(seed)).jobs.append((job, prompt_ids))
        return list(groups.values())

    def _prompt_ids(self, asked: Asked) -> list[int]:
        tokenizer = self._engine.tokenizer
        if asked.prompt is not None:
            prompt_ids = encode_prompt(tokenizer, asked.prompt)
        else:
            before = [{"role": role, "content": content} for role, content in asked.before]
            prompt_ids = self._terms.prompt.token_ids(asked.question, tokenizer, before)
        check_lengths([prompt_ids], self._engine.max_length)
        return prompt_ids

    def _search(self, prompts_of: Mapping[int, list[int]], seed: int, jobs: Sequence[Job]) -> list[Answer]:
        asked: list[Asked] = [job.asked for job in jobs]
        first, prompts = asked[0], [prompts_of[id(job)] for job in jobs]
        problems = [Problem(f"request {place}", each.question, "", "request") for place, each in enumerate(asked)]
        results = self._searcher(first.decoding).search_all(
            first.strategy.search, problems, first.budget, seed, prompts
        )
        return [
            Answer(result, self._order(result, each), len(prompt_ids), seed)
            for result, each, prompt_ids in zip(results, asked, prompts, strict=True)
        ]

    def _order(self, result: SearchResult, asked: Asked) -> list[int]:
        options, candidates = asked.strategy.options, result.candidates
        chosen = chosen_candidate(result, options.select, options.vote_eta)
        rest = [place for place in range(len(candidates)) if place != chosen]
        rest.sort(key=lambda place: (candidates[place].end == "stop", candidates[place].score), reverse=True)
        return [chosen, *rest]

    def _score(self, jobs: Sequence[Job]) -> list[list[StepScores]]:
        import torch

        wanted: list[ToScore] = [job.asked for job in jobs]
        solutions = [solution for each in wanted for solution in each.solutions if solution is not None]
        scores = checked_scores(self._scorer.score_steps(solutions), solutions) if solutions else []
        refuse_nan(scores, solutions)
        lengths_M = torch.tensor([len(step_scores) for step_scores in scores])
        totals = aggregate_solutions(torch.cat(scores), lengths_M, self._aggregation).tolist() if scores else []
        found = iter([StepScores(of_steps.tolist(), score) for of_steps, score in zip(scores, totals, strict=True)])
        return [
            [StepScores([], None) if solution is None else next(found) for solution in each.solutions]
            for each in wanted
        ]


def _each_its_own(jobs: Sequence[Job], solve: Callable[[Sequence[Job]], Sequence[Result]]) -> None:
    """Gives jobs their results, or one that cannot be solved its error, which is not that of those beside it."""
    try:
        results = solve(jobs)
    except EngineError as error:  # which all would meet
        for job in jobs:
            job.future.set_exception(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the jobs are told
        if len(jobs) == 1:
            jobs[0].future.set_exception(error)
        else:
            half = len(jobs) // 2
            _each_its_own(jobs[:half], solve)
            _each_its_own(jobs[half:], solve)
    else:
        for job, result in zip(jobs, results, strict=True):
            job.future.set_result(result)
