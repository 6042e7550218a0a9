"""Runs the searches of many problems side by side, and batches their requests to the policy and the scorer."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import NamedTuple

import torch

from erprm.data.pools import answer_key
from erprm.data.sources import Problem
from erprm.engines.base import Completion, Engine, FinishReason, Sampling, decode_after, request_seed, stop_place
from erprm.errors import InputError
from erprm.eta import Eta
from erprm.grading import Kind, extract_answer
from erprm.metrics.choice import Select, choose
from erprm.metrics.functional.aggregation import Aggregation, aggregate_solutions
from erprm.rollout.labelling.label_problems import problem_prompt
from erprm.scoring import StepScorer, checked_scores, refuse_nan
from erprm.search.cascade import Cascade
from erprm.search.protocol import Budget, Decoding, Expand, PartialSolution, Search, SearchSteps
from erprm.search.reading import Reading, deciding_scorer, readings
from erprm.steps import Solution, StepFormat, split_steps


class SearchError(InputError):
    """A search, a policy and a scorer that do not go together."""


@dataclass(frozen=True)
class SearchResult:
    """Result of a search for one problem.

    Attributes:
        candidates: solutions that have ended, in the order in which the search gave them.
        chosen: index of the answer: the best-scored of those that the policy ended itself, if there is one.
        tokens: tokens generated for it, those of what was thrown away included.
        read: what the scorer has read for it.
        decided: what the second scorer of a cascade has read for it. The candidates that it has read have its scores,
            and the others the score ``-inf``, so that none of them is chosen or votes.
    """

    candidates: tuple[PartialSolution, ...]
    chosen: int
    tokens: int
    read: Reading
    decided: Reading | None = None

    @property
    def scored(self) -> int:
        """Partial solutions that the scorer was given."""
        return self.read.solutions


class _Scored(NamedTuple):
    """The scores of a solution's steps, and all of them aggregated."""

    step_scores: tuple[float, ...]
    score: float


class _CallOfEngine(NamedTuple):
    """Settings that continuations must share to be sampled in one call of the engine."""

    n: int
    max_tokens: int
    whole: bool
    greedy: bool


@dataclass
class _Running:
    """The search of one problem.

    Attributes:
        question: the problem's.
        prompt_ids: the prompt.
        budget: its tokens.
        steps: the search itself.
        read: what the scorer has read so far.
        request: what it waits for; None once it has ended.
        answer: the continuations of each partial solution of the request.
        result: what it found, once it has ended.
    """

    question: str
    prompt_ids: list[int]
    budget: Budget
    steps: SearchSteps
    read: Reading = field(default_factory=Reading)
    request: Expand | None = None
    answer: list[list[PartialSolution]] = field(default_factory=list)
    result: SearchResult | None = None

    @property
    def continued(self) -> Iterator[PartialSolution]:
        """All continuations of the answer."""
        return chain.from_iterable(self.answer)


def chosen_candidate(result: SearchResult, select: Select, vote_eta: Eta | None) -> int:
    """The place of the answer among the candidates; one that was cut off is taken only if all were.

    Args:
        result: of a search.
        select: how to choose, see :func:`erprm.metrics.choice.choose`.
        vote_eta: eta of an entropic vote.
    """
    if select == "best":
        return result.chosen
    candidates = result.candidates
    ended = [place for place, candidate in enumerate(candidates) if candidate.end == "stop"]
    places = ended or list(range(len(candidates)))
    scores, answers = [candidates[place].score for place in places], [candidates[place].answer for place in places]
    return places[choose(scores, answers, select, vote_eta)]


class Searcher:
    """Runs searches with one policy and one scorer.

    Args:
        engine: the policy.
        scorer: what scores the steps.
        decoding: how the policy is sampled from.
        aggregation: score of a solution, and of a part of one, from those of its steps.
        kind: how the final answer of a solution is read (see :func:`erprm.grading.extract_answer`).
        cascade: a second scorer, which chooses among the best candidates.

    Raises:
        ValueError: if the second scorer is a name, or its operations are limited and cannot be counted.
    """

    def __init__(
        self,
        engine: Engine,
        scorer: StepScorer,
        decoding: Decoding,
        aggregation: Aggregation,
        kind: Kind = "auto",
        cascade: Cascade | None = None,
    ) -> None:
        self._engine, self._scorer, self._decoding, self._aggregation = engine, scorer, decoding, aggregation
        self._kind: Kind = kind
        self._a_step_has_ended = False
        self._cascade = cascade
        self._decider = None if cascade is None else deciding_scorer(cascade)

    def search_all(
        self,
        search: Search,
        problems: Sequence[Problem],
        budget_tokens: int,
        seed: int,
        prompts: Sequence[list[int]] | None = None,
    ) -> list[SearchResult]:
        """Searches for a solution of each problem, of all at the same time.

        What is found for a problem does not depend on the others: each sample has a random stream of its own.

        Args:
            search: the way to search.
            problems: questions; answers are not looked at.
            budget_tokens: tokens that the policy may generate for each problem.
            seed: seed of the samples, and of each search's own random numbers.
            prompts: token ids of a prompt for each problem; by default what the decoding's prompt format makes of it.

        Raises:
            SearchError: if the search asks for more than its budget, or returns no solution; if the policy never ends
                a step, or writes the scorer's step tag.
            PromptError: if a question leaves no room for a solution in the policy's context.
            ScorerError: if the scorer returns not one score for each step, or NaN.
            EngineError: if the engine has failed for good.
        """
        if prompts is None:
            prompts = [problem_prompt(problem, self._engine, self._decoding.prompt) for problem in problems]
        searches = [
            self._begin(search, problem, prompt_ids, budget_tokens, seed)
            for problem, prompt_ids in zip(problems, prompts, strict=True)
        ]
        for number in count():
            # All searches are at their request of this number.
            waiting = [running for running in searches if running.request is not None]
            if not waiting:
                break
            self._sample_all(waiting, search, _seed_of_request(seed, number))
            self._check_that_steps_end(waiting)
            self._score_all(waiting)
            for running in waiting:
                _advance(running, search)
        if self._cascade is not None and self._decider is not None:
            self._decide(searches, self._cascade, self._decider)
        return [running.result for running in searches if running.result is not None]

    def _begin(self, search: Search, problem: Problem, prompt_ids: list[int], tokens: int, seed: int) -> _Running:
        max_tokens = min(self._decoding.max_tokens, self._engine.max_length - len(prompt_ids))
        # No sample has the number -1, so the search's random numbers are independent of the engine's.
        own_seed = request_seed(seed, prompt_ids, -1)
        budget = Budget(tokens, max_tokens, min(self._decoding.max_step_tokens, max_tokens), seed=own_seed)
        if not budget.solutions:
            raise SearchError(f"the budget is {tokens} tokens; a solution may take max_tokens={max_tokens}")
        running = _Running(problem.question, prompt_ids, budget, search.search(budget))
        _advance(running, search)
        return running

    def _sample_all(self, waiting: Sequence[_Running], search: Search, seed: int) -> None:
        """Fills in the answers, without scores."""
        groups: dict[_CallOfEngine, list[tuple[_Running, PartialSolution, list[PartialSolution]]]] = defaultdict(list)
        for running in waiting:
            request = _checked(running, search)
            running.answer = [[] for _ in request.partials]
            for partial, continued in zip(request.partials, running.answer, strict=True):
                most_tokens = running.budget.most_tokens(partial, request.whole)
                call = _CallOfEngine(request.n, most_tokens, request.whole, request.greedy)
                groups[call].append((running, partial, continued))
        for call, members in groups.items():
            prompts = [[*running.prompt_ids, *partial.token_ids] for running, partial, _ in members]
            completions = self._engine.generate(prompts, self._sampling(call, seed))
            for (running, partial, continued), prompt, of_prompt in zip(members, prompts, completions, strict=True):
                running.budget.spent += sum(len(completion.token_ids) for completion in of_prompt)
                continued += [
                    self._continued(partial, completion, prompt, call.whole, running.budget.max_tokens)
                    for completion in of_prompt
                ]

    def _sampling(self, call: _CallOfEngine, seed: int) -> Sampling:
        decoding = self._decoding
        stop = decoding.stop if call.whole else (*decoding.step_ends, *decoding.stop)
        temperature = 0.0 if call.greedy else decoding.temperature
        return Sampling(call.n, temperature, decoding.top_p, call.max_tokens, stop, seed)

    def _continued(
        self,
        partial: PartialSolution,
        completion: Completion,
        prompt_ids: Sequence[int],
        whole: bool,
        max_tokens: int,
    ) -> PartialSolution:
        """The partial solution with a completion behind it, not yet scored."""
        added: str = completion.text
        end: FinishReason | None = completion.finish_reason
        if not whole and end == "stop":
            as_generated = decode_after(self._engine.tokenizer, prompt_ids, completion.token_ids)
            if stop_place(as_generated, self._decoding.step_ends) is not None:
                # `stop` holds no step end, so this one came first.
                added, end = as_generated, None
                self._a_step_has_ended = True
            elif self._holds_no_end(as_generated, completion, prompt_ids):
                raise SearchError(
                    f"{self._engine.name!r} stopped after {added[-40:]!r}, but its tokens do not say at what: a server "
                    "must return the ids of its tokens, as vLLM does, for a search by steps"
                )
        token_ids = (*partial.token_ids, *completion.token_ids)
        if end is None and len(token_ids) >= max_tokens:
            end = "length"
        text = partial.text + added
        answer = None if end is None else answer_key(extract_answer(text, self._kind, end == "length"))
        return PartialSolution(token_ids, text, tuple(split_steps(text, self._decoding.style)), end=end, answer=answer)

    def _holds_no_end(self, as_generated: str, completion: Completion, prompt_ids: Sequence[int]) -> bool:
        """True if the tokens of a completion that has stopped hold neither a stop string nor the end of the text."""
        without_last = decode_after(self._engine.tokenizer, prompt_ids, completion.token_ids[:-1])
        return as_generated != without_last and as_generated.strip() == completion.text.strip()

    def _check_that_steps_end(self, waiting: Sequence[_Running]) -> None:
        """Refuses a policy that does not write steps, before a budget is spent on it."""
        if self._a_step_has_ended:
            return
        steps = [
            partial
            for running in waiting
            if running.request is not None and not running.request.whole
            for partial in running.continued
        ]
        if steps and all(partial.end == "length" for partial in steps):
            raise SearchError(
                f"none of {len(steps)} steps ended within max_step_tokens={self._decoding.max_step_tokens}: the policy "
                f"does not write step_ends={list(self._decoding.step_ends)} there, but for example "
                f"{steps[0].text[:80]!r}; give what it ends its steps with, or raise max_step_tokens"
            )

    def _score_all(self, waiting: Sequence[_Running]) -> None:
        """Puts scores into the answers; equal ones are scored once."""
        place_of: dict[tuple[str, tuple[str, ...]], int] = {}
        for running in waiting:
            for partial in running.continued:
                if partial.steps:
                    place_of.setdefault((running.question, partial.steps), len(place_of))
        solutions = [Solution(question, steps) for question, steps in place_of]
        scores = self._scores_of(self._scorer, solutions)
        read = readings(self._scorer, solutions)
        for running in waiting:
            for steps in {partial.steps for partial in running.continued if partial.steps}:
                running.read += read[place_of[running.question, steps]]
            running.budget.scored = running.read.solutions
            for continued in running.answer:
                for number, partial in enumerate(continued):
                    if partial.steps:
                        scored = scores[place_of[running.question, partial.steps]]
                        continued[number] = replace(partial, step_scores=scored.step_scores, score=scored.score)

    def _decide(self, searches: Sequence[_Running], cascade: Cascade, decider: StepScorer) -> None:
        """Gives the candidates that a cascade keeps the scores of its second scorer, and the others none."""
        kept: list[tuple[_Running, tuple[str, ...]]] = []
        for running in searches:
            assert running.result is not None
            passing = cascade.kept(running.result.candidates)
            read = readings(decider, [Solution(running.question, steps) for steps in passing])
            read = read[: cascade.affordable([each.flops or 0 for each in read])]
            running.result = replace(running.result, decided=sum(read, Reading()))
            kept += [(running, steps) for steps in passing[: len(read)]]
        solutions = [Solution(running.question, steps) for running, steps in kept]
        scores: dict[int, dict[tuple[str, ...], _Scored]] = defaultdict(dict)
        for (running, steps), scored in zip(kept, self._scores_of(decider, solutions), strict=True):
            scores[id(running)][steps] = scored
        for running in searches:
            assert running.result is not None
            running.result = _decided(running.result, scores[id(running)])

    def _scores_of(self, scorer: StepScorer, solutions: Sequence[Solution]) -> list[_Scored]:
        if not solutions:
            return []
        self._refuse_tags(scorer, solutions)
        scores = checked_scores(scorer.score_steps(solutions), solutions)
        refuse_nan(scores, solutions)
        lengths_M = torch.tensor([len(step_scores) for step_scores in scores])
        aggregated = aggregate_solutions(torch.cat(scores), lengths_M, self._aggregation).tolist()
        return [
            _Scored(tuple(step_scores.tolist()), score) for step_scores, score in zip(scores, aggregated, strict=True)
        ]

    def _refuse_tags(self, scorer: StepScorer, solutions: Sequence[Solution]) -> None:
        """Finds out that the policy puts the scorer's step tag where no step is seen to end."""
        tag = _tag_of(scorer)
        if tag is None:
            return
        tagged = [step for solution in solutions for step in solution.steps if tag in step]
        if 2 * len(tagged) > sum(len(solution.steps) for solution in solutions):
            raise SearchError(
                f"most steps of the policy hold {tag!r}, the scorer's step tag, for example {tagged[0][:80]!r}: "
                f"with style {self._decoding.style!r} the tag is a part of the step, with math_shepherd it is not"
            )


def _tag_of(scorer: StepScorer) -> str | None:
    step_format = getattr(scorer, "step_format", None)
    return step_format.tag.strip() or None if isinstance(step_format, StepFormat) and step_format.tag_is_token else None


def _seed_of_request(seed: int, number: int) -> int:
    """The seed of the samples for a search's request of this number, so that later ones differ from earlier ones."""
    if number == 0:
        return seed  # The samples of a rollout or a pool with this seed.
    return int.from_bytes(hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest(), "little") >> 1


def _checked(running: _Running, search: Search) -> Expand:
    request, budget, name = running.request, running.budget, type(search).__name__
    assert request is not None
    if request.n < 1 or not request.partials:
        raise SearchError(f"{name} asked for {request.n} continuations of {len(request.partials)} partial solutions")
    if request.greedy and request.n > 1:
        raise SearchError(f"{name} asked for {request.n} greedy continuations, which would all be the same")
    if len({partial.token_ids for partial in request.partials}) < len(request.partials):
        raise SearchError(f"{name} asked for continuations of the same partial solution twice; raise n instead")
    if any(partial.end is not None for partial in request.partials):
        raise SearchError(f"{name} asked for continuations of a solution that has ended")
    if budget.cost(request) > budget.left:
        raise SearchError(
            f"{name} asked for continuations that may take {budget.cost(request)} tokens; {budget.left} of "
            f"{budget.tokens} are left (see Budget.solutions and Budget.spare_steps)"
        )
    return request


def _advance(running: _Running, search: Search) -> None:
    """Lets a search go on to its next request, or to the end."""
    try:
        running.request = running.steps.send(running.answer) if running.request else next(running.steps)
    except StopIteration as finished:
        running.request = None
        running.result = _result(finished.value or [], running, search)


def _result(candidates: Sequence[PartialSolution], running: _Running, search: Search) -> SearchResult:
    unfinished = sum(candidate.end is None for candidate in candidates)
    if not candidates or unfinished:
        raise SearchError(
            f"{type(search).__name__} returned {len(candidates)} candidates, {unfinished} of which have not ended; it "
            "must be at least one solution, and all of them ended"
        )
    return SearchResult(tuple(candidates), _best(candidates), running.budget.spent, running.read)


def _decided(result: SearchResult, scored: Mapping[tuple[str, ...], _Scored]) -> SearchResult:
    """The result of a search with the scores of a second scorer in place of those of the first."""
    candidates = tuple(
        replace(candidate, step_scores=of_steps.step_scores, score=of_steps.score)
        if (of_steps := scored.get(candidate.steps)) is not None
        else replace(candidate, score=-math.inf)
        for candidate in result.candidates
    )
    return replace(result, candidates=candidates, chosen=_best(candidates))


def _best(candidates: Sequence[PartialSolution]) -> int:
    """The place of the best-scored; one that was cut off is taken only if all were."""
    return max(range(len(candidates)), key=lambda place: (candidates[place].end == "stop", candidates[place].score))
