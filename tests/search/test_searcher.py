"""Searches run together: tokens, scores, seeds, and what does not go together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

import pytest
import torch
from torch import Tensor

from erprm.data.sources import Problem
from erprm.engines.base import PromptError, Sampling
from erprm.search import (
    DVTS,
    START,
    AdaptiveN,
    BeamSearch,
    BestOfNSearch,
    Budget,
    Expand,
    LookAhead,
    PartialSolution,
    ParticleSearch,
    Search,
    SearchError,
    SearchSteps,
    StepRejection,
)
from erprm.steps import Solution, StepFormat
from tests.engines.recorded_engine import RecordedEngine
from tests.search.conftest import DECODING, PROBLEMS, SevenIsRight, make_searcher, two_steps

SEARCHES: list[Search] = [
    BestOfNSearch(),
    BeamSearch(2, 2),
    BeamSearch(1, 3),
    StepRejection(0.5, 3),
    ParticleSearch(4, 3.0),
    DVTS(2, 2),
    AdaptiveN(batch=2),
    LookAhead(2, 2),
    LookAhead(1, 2, depth=1),
]


@pytest.mark.parametrize(("search", "budget"), list(product(SEARCHES, (16, 17, 40, 100))))
def test_no_search_exceeds_its_budget_and_every_token_is_counted(search: Search, budget: int) -> None:
    for seed in range(4):
        searcher, engine = make_searcher()
        results = searcher.search_all(search, PROBLEMS, budget, seed)
        assert len(results) == len(PROBLEMS)
        assert all(result.tokens <= budget for result in results)
        assert sum(result.tokens for result in results) == engine.usage.completion
        assert all(len(result.candidates) >= 1 for result in results)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_result_depends_on_the_seed_but_not_on_the_problems_beside_it(search: Search) -> None:
    searcher, _ = make_searcher()
    together = searcher.search_all(search, PROBLEMS, 60, seed=3)
    assert together == searcher.search_all(search, PROBLEMS, 60, seed=3)
    assert together == [searcher.search_all(search, [problem], 60, seed=3)[0] for problem in PROBLEMS]
    assert together != searcher.search_all(search, PROBLEMS, 60, seed=4)


def test_all_problems_share_one_call_of_the_scorer_for_each_step() -> None:
    scorer = SevenIsRight()
    searcher, _ = make_searcher(scorer=scorer)
    # 16 tokens: one solution, in three steps; the answer's line joins the second step.
    results = searcher.search_all(StepRejection(0.0, 1), PROBLEMS, 16, seed=0)
    assert scorer.calls == [len(PROBLEMS)] * 3
    assert [result.scored for result in results] == [3] * len(PROBLEMS)


def test_best_of_n_begins_with_the_samples_of_a_pool_of_the_same_seed() -> None:
    searcher, engine = make_searcher()
    results = searcher.search_all(BestOfNSearch(), PROBLEMS, 48, seed=7)
    pool = engine.generate([problem.question for problem in PROBLEMS], Sampling(3, max_tokens=16, seed=7))
    for result, of_problem in zip(results, pool, strict=True):
        assert [candidate.text for candidate in result.candidates[:3]] == [sample.text for sample in of_problem]
        # Nine tokens a solution: 48 - 27 = 21 leave room for one more.
        assert (len(result.candidates), result.tokens) == (4, 36)


def test_a_solution_is_made_of_the_sampled_tokens_and_scored_in_the_steps_of_its_style() -> None:
    searcher, engine = make_searcher()
    for search in SEARCHES:
        for result in searcher.search_all(search, PROBLEMS, 40, seed=0):
            for candidate in result.candidates:
                written = engine.tokenizer.decode(candidate.token_ids[:-1])
                assert candidate.text.strip() == written
                first, second = candidate.steps
                assert second.endswith(f"#### {engine.tokenizer.decode(candidate.token_ids[4:5])}")
                (scores,) = SevenIsRight().score_steps([Solution("", candidate.steps)])
                assert candidate.step_scores == tuple(scores.tolist())
                assert candidate.score == pytest.approx(min(scores.tolist()))
                assert ("7" in first) == (candidate.step_scores[0] > 0.5)


def test_wide_searches_find_the_right_steps_that_a_single_sample_misses() -> None:
    # A right solution has the chance 0.16; that 30 samples of one digit hold no 7 has the chance 2e-7.
    searcher, _ = make_searcher()
    searches: list[Search] = [BeamSearch(1, 30), StepRejection(0.5, 30)]
    for search in searches:
        results = searcher.search_all(search, PROBLEMS, 1000, seed=0)
        assert all(result.candidates[0].score == pytest.approx(0.9) for result in results)


def test_the_answer_is_the_best_scored_of_the_solutions_that_the_policy_has_ended() -> None:
    def may_go_on(words: tuple[str, ...]) -> Mapping[str, float]:
        """A line with a 2 and an end, or lines with 7 for ever."""
        if words[-1:] == ("2",):
            return {"</s>": 1.0}
        if words[-1:] == ("7",):
            return {"\n": 1.0}
        return {"2": 0.5, "7": 0.5} if not words else {"7": 1.0}

    searcher, _ = make_searcher(may_go_on)
    searches: list[Search] = [BestOfNSearch(), BeamSearch(2, 2), StepRejection(0.0, 1)]
    for search in searches:
        (result,) = searcher.search_all(search, PROBLEMS[:1], 200, seed=0)
        ends = {candidate.end for candidate in result.candidates}
        assert ends == {"stop", "length"}
        chosen = result.candidates[result.chosen]
        assert (chosen.end, chosen.steps) == ("stop", ("2",))
        # Cut off at max_tokens, though a step has ended there.
        assert max(len(candidate.token_ids) for candidate in result.candidates) == DECODING.max_tokens


def test_a_solution_without_a_step_is_a_candidate_without_a_score() -> None:
    searcher, _ = make_searcher(lambda words: {"</s>": 1.0})
    for search in SEARCHES:
        (result,) = searcher.search_all(search, PROBLEMS[:1], 16, seed=0)
        assert {(candidate.text, candidate.score) for candidate in result.candidates} == {("", -float("inf"))}


def test_a_solution_has_its_final_answer_once_it_has_ended() -> None:
    searcher, _ = make_searcher()
    (result,) = searcher.search_all(BestOfNSearch(), PROBLEMS[:1], 100, seed=0)
    answers = [candidate.answer for candidate in result.candidates]
    assert answers == [Fraction(candidate.text.split()[-1]) for candidate in result.candidates]
    assert len(set(answers)) > 1

    def without_answer(words: tuple[str, ...]) -> Mapping[str, float]:
        return {("so", "\n", "</s>")[len(words)]: 1.0}

    searcher, _ = make_searcher(without_answer)
    (result,) = searcher.search_all(BestOfNSearch(n=1), PROBLEMS[:1], 100, seed=0)
    assert result.candidates[0].answer is None


def test_a_stop_string_ends_a_solution() -> None:
    searcher, _ = make_searcher(decoding=replace(DECODING, stop=("####",)))
    for search in SEARCHES:
        for result in searcher.search_all(search, PROBLEMS, 32, seed=1):
            assert all(candidate.text.endswith("\n ") for candidate in result.candidates)
            assert all(len(candidate.token_ids) == 7 for candidate in result.candidates)


@dataclass
class RecordsSeeds:
    """Samples one solution, and notes the seed for random numbers of its own."""

    seeds: list[int]

    def search(self, budget: Budget) -> SearchSteps:
        self.seeds.append(budget.seed)
        [solutions] = yield Expand([START], whole=True)
        return solutions


def test_a_search_has_a_seed_of_its_own_for_each_problem_and_seed_of_the_run() -> None:
    searcher, _ = make_searcher()
    search = RecordsSeeds([])
    for seed in (0, 1, 0):
        searcher.search_all(search, PROBLEMS[:2], 16, seed)
    assert len(set(search.seeds)) == 4
    assert search.seeds[4:] == search.seeds[:2]


# What does not go together ----------------------------------------------------------------------------------------


def test_a_budget_below_a_solution_is_refused() -> None:
    searcher, engine = make_searcher()
    with pytest.raises(SearchError, match="the budget is 3 tokens; a solution may take max_tokens=16"):
        searcher.search_all(BeamSearch(), PROBLEMS, 3, seed=0)
    assert engine.usage.completion == 0


def test_a_policy_that_never_ends_a_step_is_refused_before_the_budget_is_spent() -> None:
    searcher, engine = make_searcher(lambda words: {"so": 1.0})
    message = r"none of 5 steps ended within max_step_tokens=4: the policy does not write step_ends=\['\\n'\] there, "
    with pytest.raises(SearchError, match=message + r"but for example '\s?so so so so'"):
        searcher.search_all(StepRejection(), PROBLEMS, 1000, seed=0)
    assert engine.usage.completion == 20


def test_a_question_that_leaves_no_room_is_named() -> None:
    searcher, _ = make_searcher()
    long = Problem("p/long", "1 + " * 600 + "1 =", "7", "p")
    with pytest.raises(PromptError, match="problem 'p/long': its prompt has 1203 tokens"):
        searcher.search_all(BestOfNSearch(), [*PROBLEMS, long], 100, seed=0)


@dataclass
class ScoresOf:
    """Returns what it is given."""

    scores: list[Tensor]

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        return self.scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "score_steps returned scores for 0 of 1 solutions"),
        ([torch.zeros(1)], "score_steps returned 1 scores for the 2 steps of a solution of '0 \\+ 0 ='"),
        ([torch.tensor([0.5, float("nan")])], "score_steps returned NaN for step 1"),
    ],
)
def test_a_scorer_that_returns_not_one_score_a_step_is_refused(scores: list[Tensor], message: str) -> None:
    searcher, _ = make_searcher(scorer=ScoresOf(scores))
    with pytest.raises(ValueError, match=message):
        searcher.search_all(BestOfNSearch(n=1), PROBLEMS[:1], 16, seed=0)


class TaggedScorer(SevenIsRight):
    """Puts a word that the policy writes behind each step."""

    step_format = StepFormat(tag=" then")


def test_a_policy_that_writes_the_scorer_s_tag_within_its_steps_is_refused() -> None:
    def tagged(words: tuple[str, ...]) -> Mapping[str, float]:
        return {("so", "then", "\n")[len(words) % 3]: 1.0}

    searcher, _ = make_searcher(tagged, TaggedScorer())
    with pytest.raises(SearchError, match="most steps of the policy hold 'then', the scorer's step tag, for example"):
        searcher.search_all(BeamSearch(), PROBLEMS, 100, seed=0)
    searcher, _ = make_searcher(two_steps, TaggedScorer())
    assert searcher.search_all(BeamSearch(), PROBLEMS, 100, seed=0)


def test_tokens_that_do_not_say_where_they_stopped_are_refused() -> None:
    searcher, known = make_searcher()
    # As a server without token ids: neither the end nor the stop string is among the tokens.
    searcher._engine = RecordedEngine(known.tokenizer, ["so 7"])
    with pytest.raises(SearchError, match=r"'recorded' stopped after 'so 7', but its tokens do not say at what"):
        searcher.search_all(BeamSearch(), PROBLEMS, 100, seed=0)


@dataclass
class Asking:
    """A search that makes one request, and returns what it gets or something else."""

    request: Expand
    returned: list[PartialSolution] | None = None

    def search(self, budget: Budget) -> SearchSteps:
        [solutions] = yield self.request
        return solutions if self.returned is None else self.returned


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (Asking(Expand([START], 3, whole=True)), "Asking asked for continuations that may take 48 tokens; 40 of 40"),
        (Asking(Expand([START], 2, greedy=True)), "Asking asked for 2 greedy continuations, which would all be the sa"),
        (Asking(Expand([START], 0)), "Asking asked for 0 continuations of 1 partial solutions"),
        (Asking(Expand([])), "Asking asked for 1 continuations of 0 partial solutions"),
        (Asking(Expand([START, START])), "Asking asked for continuations of the same partial solution twice"),
        (Asking(Expand([replace(START, end="stop")])), "Asking asked for continuations of a solution that has ended"),
        (Asking(Expand([START])), "Asking returned 1 candidates, 1 of which have not ended"),
        (Asking(Expand([START], whole=True), []), "Asking returned 0 candidates"),
    ],
)
def test_a_search_that_breaks_the_rules_is_told_which(search: Search, message: str) -> None:
    searcher, _ = make_searcher()
    with pytest.raises(SearchError, match=message):
        searcher.search_all(search, PROBLEMS[:1], 40, seed=0)
