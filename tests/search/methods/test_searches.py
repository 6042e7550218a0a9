"""Each search by hand: what it asks for, given what it got."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

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
    SearchSteps,
    StepRejection,
)
from tests.search.conftest import partial


def make_budget(tokens: int) -> Budget:
    return Budget(tokens, max_tokens=30, max_step_tokens=5)


def answer(steps: SearchSteps, budget: Budget, continued: Sequence[Sequence[PartialSolution]], spent: int) -> Expand:
    budget.spent += spent
    return steps.send([list(each) for each in continued])


def last_answer(
    steps: SearchSteps, budget: Budget, continued: Sequence[Sequence[PartialSolution]], spent: int
) -> list[PartialSolution]:
    with pytest.raises(StopIteration) as end:
        answer(steps, budget, continued, spent)
    found: list[PartialSolution] = end.value.value
    return found


def test_best_of_n_begins_as_many_solutions_as_are_sure_to_fit_and_more_with_what_they_leave() -> None:
    budget = make_budget(100)
    steps = BestOfNSearch().search(budget)
    assert next(steps) == Expand([START], 3, whole=True)
    first = [partial(name, 0.5, 15, "stop") for name in (1, 2, 3)]
    # 45 tokens spent, 55 left: one more is sure to fit. Then 30 are left: exactly one.
    assert answer(steps, budget, [first], 45) == Expand([START], 1, whole=True)
    assert answer(steps, budget, [[partial(4, 0.5, 25, "stop")]], 25) == Expand([START], 1, whole=True)
    found = last_answer(steps, budget, [[partial(5, 0.5, 30, "length")]], 30)
    assert [solution.token_ids[0] for solution in found] == [1, 2, 3, 4, 5]


def test_best_of_n_takes_no_more_than_n() -> None:
    budget = make_budget(1000)
    steps = BestOfNSearch(n=2).search(budget)
    assert next(steps).n == 2
    solutions = [partial(name, 0.5, 10, "stop") for name in (1, 2)]
    assert last_answer(steps, budget, [solutions], 20) == solutions


def test_beam_search_keeps_the_best_and_samples_on_from_each() -> None:
    budget = make_budget(200)
    steps = BeamSearch(width=2, expansions=2).search(budget)
    assert next(steps) == Expand([START], 4)
    a, b, c, d = partial(1, 0.3), partial(2, 0.8), partial(3, 0.5), partial(4, 0.1)
    assert answer(steps, budget, [[a, b, c, d]], 12) == Expand([b, c], 2)


def test_beam_search_keeps_one_of_equal_continuations() -> None:
    budget = make_budget(200)
    steps = BeamSearch(width=2, expansions=2).search(budget)
    next(steps)
    a, b = partial(1, 0.8), partial(2, 0.3)
    assert answer(steps, budget, [[a, a, b, a]], 12) == Expand([a, b], 2)


def test_beam_search_ends_once_the_best_beams_have_ended_and_returns_every_solution_that_has() -> None:
    budget = make_budget(90)
    steps = BeamSearch(width=2, expansions=2).search(budget)
    next(steps)
    ended, low, going_on = partial(1, 0.8, end="stop"), partial(2, 0.1, end="stop"), partial(3, 0.5)
    # The ended beam keeps its place, so one other is continued.
    assert answer(steps, budget, [[ended, low, going_on, going_on]], 12) == Expand([going_on], 2)
    also, worse = partial(4, 0.6, 6, "stop"), partial(5, 0.2, 6)
    # 72 tokens are left: the search begins anew, with all three solutions kept; 90 - 18 = 72 >= 30.
    assert answer(steps, budget, [[also, worse]], 6) == Expand([START], 4)
    budget.spent = 61  # No other solution is sure to fit.
    again = partial(6, 0.4, end="stop")
    assert last_answer(steps, budget, [[again] * 4], 0) == [ended, low, also, again]


def test_beam_search_narrows_where_the_budget_does_not_allow_a_round_and_writes_one_beam_to_its_end() -> None:
    budget = make_budget(52)
    steps = BeamSearch(width=2, expansions=2).search(budget)
    # 52 - 30 to end a solution: four steps of five tokens.
    assert next(steps) == Expand([START], 4)
    a, b = partial(1, 0.8), partial(2, 0.5)
    # 12 spent: 40 are left, 27 may be needed to end a beam, so two steps: the best beam alone.
    assert answer(steps, budget, [[a, b, b, b]], 12) == Expand([a], 2)
    # 8 spent: 32 are left, 26 may be needed for a beam of 4 tokens: one step.
    c = partial(3, 0.7, 4)
    assert answer(steps, budget, [[c, partial(4, 0.1, 4)]], 8) == Expand([c], 1)
    # 5 spent: 27 are left, 21 may be needed.
    d = partial(5, 0.7, 9)
    assert answer(steps, budget, [[d]], 5) == Expand([d], 1)
    e = partial(6, 0.7, 12, "stop")
    assert last_answer(steps, budget, [[e]], 3) == [e]


def test_step_rejection_samples_a_step_again_until_it_passes() -> None:
    budget = make_budget(200)
    steps = StepRejection(threshold=0.5, tries=3).search(budget)
    assert next(steps) == Expand([START])
    assert answer(steps, budget, [[partial(1, 0.2)]], 3) == Expand([START])
    passes = partial(2, 0.5)
    assert answer(steps, budget, [[passes]], 3) == Expand([passes])


def test_step_rejection_takes_the_best_of_its_tries() -> None:
    budget = make_budget(200)
    steps = StepRejection(threshold=0.9, tries=3).search(budget)
    next(steps)
    answer(steps, budget, [[partial(1, 0.2)]], 3)
    best = partial(2, 0.6)
    assert answer(steps, budget, [[best]], 3) == Expand([START])
    assert answer(steps, budget, [[partial(3, 0.4)]], 3) == Expand([best])


def test_step_rejection_judges_a_step_by_its_own_score_not_by_those_before_it() -> None:
    budget = make_budget(60)
    steps = StepRejection(threshold=0.5, tries=1).search(budget)
    next(steps)
    answer(steps, budget, [[partial(1, 0.1)]], 3)
    better = PartialSolution((1,) * 6, "", ("a", "b"), (0.1, 0.9), 0.1)
    assert answer(steps, budget, [[better]], 3) == Expand([better])


def test_step_rejection_tries_no_more_once_the_budget_is_needed_to_end_the_solution() -> None:
    budget = make_budget(34)
    steps = StepRejection(threshold=0.9, tries=5).search(budget)
    next(steps)
    # 34 - 4 = 30 tokens are left, and 30 may be needed: no second try.
    rejected = partial(1, 0.2, 4)
    assert answer(steps, budget, [[rejected]], 4) == Expand([rejected])
    ended = partial(2, 0.2, 20, "stop")
    assert last_answer(steps, budget, [[ended]], 16) == [ended]


def test_dvts_keeps_the_best_step_of_each_subtree_whatever_the_scores_in_others() -> None:
    budget = make_budget(200)
    steps = DVTS(width=2, expansions=2).search(budget)
    assert next(steps) == Expand([START], 2)
    a, b = partial(1, 0.8), partial(2, 0.9)
    assert answer(steps, budget, [[a, b]], 6) == Expand([b], 2)
    first, worse = partial(3, 0.9, 6, "stop"), partial(4, 0.4, 6, "stop")
    assert answer(steps, budget, [[first, worse]], 6) == Expand([START], 2)
    # Both are worse than all of the first subtree: the best of the two is still kept.
    c, d = partial(5, 0.2), partial(6, 0.1)
    assert answer(steps, budget, [[c, d]], 6) == Expand([c], 2)
    second = partial(7, 0.2, 6, "stop")
    assert last_answer(steps, budget, [[second, second]], 6) == [first, worse, second]


def test_dvts_begins_no_subtree_that_the_budget_does_not_allow() -> None:
    budget = make_budget(50)
    steps = DVTS(width=4, expansions=2).search(budget)
    next(steps)
    ended = partial(1, 0.5, 15, "stop")
    assert last_answer(steps, budget, [[ended, partial(2, 0.4)]], 30) == [ended]


def longer(parent: PartialSolution, name: int, score: float, length: int = 3, end: Any = None) -> PartialSolution:
    ids = (*parent.token_ids, *(name,) * length)
    return PartialSolution(ids, "", (*parent.steps, f"step {name}"), (*parent.step_scores, score), score, end)


def test_look_ahead_keeps_the_steps_whose_greedy_continuations_score_best() -> None:
    budget = make_budget(400)
    steps = LookAhead(width=1, expansions=3, depth=2).search(budget)
    assert next(steps) == Expand([START], 3)
    a, b, c = partial(1, 0.9), partial(2, 0.5), partial(3, 0.4, end="stop")
    # All that go on are looked ahead, step by step.
    assert answer(steps, budget, [[a, b, c]], 9) == Expand([a, b], greedy=True)
    of_a, of_b = longer(a, 4, 0.8), longer(b, 5, 0.6, end="stop")
    # The look-ahead of b has ended, so only that of a goes on.
    assert answer(steps, budget, [[of_a], [of_b]], 6) == Expand([of_a], greedy=True)
    # 0.3 for a, 0.6 for b, 0.4 for c: the search goes on from b itself, not from what was seen behind it.
    assert answer(steps, budget, [[longer(of_a, 6, 0.3)]], 3) == Expand([b], 3)
    worse, best = longer(b, 7, 0.1, end="stop"), longer(b, 8, 0.7, end="stop")
    # The solution seen from b is found again, and is one candidate.
    assert answer(steps, budget, [[of_b, worse, best]], 9) == Expand([START], 3)
    budget.spent = 371
    ended = partial(9, 0.5, end="stop")
    assert last_answer(steps, budget, [[ended] * 3], 0) == [of_b, c, worse, best, ended]


def test_look_ahead_to_the_end_asks_for_whole_solutions_once() -> None:
    budget = make_budget(400)
    steps = LookAhead(width=1, expansions=2).search(budget)
    next(steps)
    a, b = partial(1, 0.9), partial(2, 0.5)
    assert answer(steps, budget, [[a, b]], 6) == Expand([a, b], whole=True, greedy=True)
    seen_a, seen_b = longer(a, 3, 0.2, 6, "stop"), longer(b, 4, 0.3, 27, "length")
    assert answer(steps, budget, [[seen_a], [seen_b]], 33) == Expand([b], 2)


def test_look_ahead_does_not_look_where_all_steps_are_kept() -> None:
    budget = make_budget(400)
    steps = LookAhead(width=2, expansions=1).search(budget)
    next(steps)
    a, b = partial(1, 0.9), partial(2, 0.5)
    assert answer(steps, budget, [[a, b]], 6) == Expand([a, b], 1)


def test_look_ahead_counts_the_steps_that_it_may_see_against_the_budget() -> None:
    # 30 tokens to end a solution are six steps. 30 + 5 * 9: nine steps to spare, three for each look of 1 + 2.
    steps = LookAhead(width=2, expansions=2, depth=2).search(make_budget(75))
    assert next(steps) == Expand([START], 3)
    # To the end a look is six steps at most, however deep: one step, as nothing can be looked at.
    for depth in (None, 9):
        budget = make_budget(75)
        steps = LookAhead(width=2, expansions=2, depth=depth).search(budget)
        assert next(steps) == Expand([START], 1)
        a = partial(1, 0.5, 5)
        # 70 are left, 25 may be needed for each of a look and the end: nine steps to spare, five for a look.
        assert answer(steps, budget, [[a]], 5) == Expand([a], 1)
    # Two looks of six steps take 60 tokens, beside the 30 to end a solution.
    assert next(LookAhead(width=2, expansions=2).search(make_budget(89))) == Expand([START], 1)
    assert next(LookAhead(width=2, expansions=2).search(make_budget(90))) == Expand([START], 2)


def answering(name: int, answer: str | None, score: float = 0.5, end: Any = "stop") -> PartialSolution:
    return replace(partial(name, score, 10, end), answer=answer)


def test_adaptive_n_stops_once_the_leading_answer_is_likely_to_stay_in_the_lead() -> None:
    budget = make_budget(1000)
    steps = AdaptiveN(confidence=0.95, batch=2, vote="majority").search(budget)
    assert next(steps) == Expand([START], 2, whole=True)
    first = [answering(name, "7") for name in (1, 2)]
    # Two votes of two: 1 - 2^-3 = 0.875.
    assert answer(steps, budget, [first], 20) == Expand([START], 2, whole=True)
    # Three of four: 1 - P(at least 4 of 5 coins) = 1 - 6/32.
    second = [answering(3, "8"), answering(4, "7")]
    assert answer(steps, budget, [second], 20) == Expand([START], 2, whole=True)
    # Five of six: 1 - P(at least 6 of 7 coins) = 1 - 8/128 = 0.9375.
    third = [answering(name, "7") for name in (5, 6)]
    assert answer(steps, budget, [third], 20) == Expand([START], 2, whole=True)
    # Seven of eight: 1 - P(at least 8 of 9 coins) = 1 - 10/512 = 0.98.
    fourth = [answering(name, "7") for name in (7, 8)]
    assert last_answer(steps, budget, [fourth], 20) == [*first, *second, *third, *fourth]


def test_adaptive_n_counts_scores_as_parts_of_votes_and_solutions_that_were_cut_off_not_at_all() -> None:
    # 1 - 0.5^(v + 1) for v votes of v: 0.875 for two.
    for end, answer_key, score, stops in (
        ("stop", "7", 1.0, True),
        ("stop", "7", 0.9, False),
        ("stop", None, 1.0, False),
        ("length", "8", 1.0, False),
    ):
        budget = make_budget(1000)
        steps = AdaptiveN(confidence=0.875, batch=2).search(budget)
        next(steps)
        batch = [answering(1, "7", 1.0), answering(2, answer_key, score, end)]
        if stops:
            assert last_answer(steps, budget, [batch], 20) == batch
        else:
            assert answer(steps, budget, [batch], 20) == Expand([START], 2, whole=True)


def test_adaptive_n_takes_no_more_than_n_and_no_more_than_the_budget_allows() -> None:
    budget = make_budget(1000)
    steps = AdaptiveN(confidence=1.0, batch=4, n=6).search(budget)
    assert next(steps).n == 4
    solutions = [answering(name, "7", 1.0) for name in range(6)]
    assert answer(steps, budget, [solutions[:4]], 40) == Expand([START], 2, whole=True)
    assert last_answer(steps, budget, [solutions[4:]], 20) == solutions
    budget = make_budget(70)
    steps = AdaptiveN(confidence=1.0, batch=4).search(budget)
    assert next(steps).n == 2
    assert last_answer(steps, budget, [solutions[:2]], 50) == solutions[:2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BestOfNSearch(n=0), "n is 0; it must be at least 1"),
        (lambda: BeamSearch(width=0), "width is 0; it must be at least 1"),
        (lambda: BeamSearch(expansions=0), "expansions is 0; it must be at least 1"),
        (lambda: DVTS(width=0), "width is 0; it must be at least 1"),
        (lambda: DVTS(expansions=0), "expansions is 0; it must be at least 1"),
        (lambda: LookAhead(width=0), "width is 0; it must be at least 1"),
        (lambda: LookAhead(depth=0), "depth is 0; it must be at least 1, or null for the end of the solution"),
        (lambda: AdaptiveN(confidence=0.4), r"confidence is 0.4; it must be in \[0.5, 1\]"),
        (lambda: AdaptiveN(confidence=float("nan")), r"confidence is nan; it must be in \[0.5, 1\]"),
        (lambda: AdaptiveN(batch=0), "batch is 0; it must be at least 1"),
        (lambda: AdaptiveN(n=0), "n is 0; it must be at least 1"),
        (lambda: AdaptiveN(vote="weighted"), "vote is 'weighted'; .* 'weighted_vote'"),  # type: ignore[arg-type]
        (lambda: StepRejection(threshold=1.5), r"threshold is 1.5; it must be in \[0, 1\]"),
        (lambda: StepRejection(threshold=float("nan")), r"threshold is nan; it must be in \[0, 1\]"),
        (lambda: StepRejection(tries=0), "tries is 0; it must be at least 1"),
    ],
)
def test_settings_that_make_no_search_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
