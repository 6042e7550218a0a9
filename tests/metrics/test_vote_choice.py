import math

import pytest
import torch

from erprm.metrics.evaluation import Candidates
from erprm.metrics.vote_choice import choose_vote, cross_validated


def pool_of_two_against_two(problems: int) -> tuple[Candidates, torch.Tensor]:
    """Two right candidates with scores 0.9 and 0.1, and two wrong ones of one answer with 0.5 each."""
    answers_PN = torch.tensor([[0, 1, 1, 0]]).expand(problems, 4)
    scores_PN = torch.tensor([[0.9, 0.5, 0.5, 0.1]]).expand(problems, 4)
    pool = Candidates(answers_PN == 0, answers_PN, answers_PN, torch.ones(problems, 4, dtype=torch.bool))
    return pool, scores_PN


def test_each_fold_is_judged_by_the_choice_of_the_others() -> None:
    # Choice 0 is right on problem 0 alone, choice 1 on the other three. Without problem 0, choice 1 is taken; without
    # any other, choice 1 leads with two against one.
    values_VP = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]])
    held_out_P, chosen = cross_validated(values_VP, folds=4)
    assert held_out_P.tolist() == [0.0, 1.0, 1.0, 1.0]
    assert chosen == [1, 1, 1, 1]


def test_a_choice_by_chance_gains_nothing_on_problems_it_has_not_seen() -> None:
    # Each of 100 choices is right on a random half of 200 problems. On these numbers, which are fixed,
    # the best is right on 59%. Held out it is right on half; the standard error is 0.035, and more than 5.5 of them
    # are off less than once in ten million.
    values_VP = (torch.rand(100, 200, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    held_out_P, _ = cross_validated(values_VP, folds=10)
    assert values_VP.mean(1).max() > 0.56
    assert held_out_P.mean().item() == pytest.approx(0.5, abs=5.5 * 0.5 / 200**0.5)


def test_the_lowest_eta_of_the_best_is_chosen_and_gains_what_the_others_miss() -> None:
    # Totals of the two answers: 1 + e^-0.8 eta against 2 e^-0.4 eta, relative to the first candidate's weight. At eta
    # 0 they tie at 2 (half of the ties are right), and (1 - e^(-0.4 eta))^2 > 0 for every other eta.
    pool, scores_PN = pool_of_two_against_two(20)
    choice = choose_vote(pool, {"min": scores_PN}, etas=[5.0, 0.0, 1.0], folds=4)
    assert (choice.vote.aggregation, choice.vote.eta, choice.n) == ("min", 1.0, 4)
    assert {vote.eta for vote in choice.chosen} == {1.0}
    assert choice.accuracy.mean == 1.0
    assert choice.others["majority"].mean == 0.5
    assert choice.gains["majority"].mean == 0.5
    assert choice.gains["bon"].mean == 0.0
    # A draw with the weights e^(5 * 0.9), e^(5 * 0.1) for the right and twice e^(5 * 0.5) for the wrong candidates; one
    # candidate is right half of the time, of four the best always.
    right, wrong = math.exp(4.5) + math.exp(0.5), 2 * math.exp(2.5)
    assert choice.others["hedged_soft_best_of_n"].mean == pytest.approx(right / (right + wrong))
    assert choice.others["hedged_best_of_n"].mean == 1.0


def test_fewer_candidates_are_taken_where_more_are_worse() -> None:
    # One of four candidates is wrong, and has the best score.
    correct_PN = torch.tensor([[False, True, True, True]]).expand(6, 4)
    pool = Candidates(
        correct_PN, torch.arange(4).expand(6, 4), torch.arange(4).expand(6, 4), torch.ones_like(correct_PN)
    )
    choice = choose_vote(pool, {"min": torch.tensor([[0.9, 0.5, 0.4, 0.3]]).expand(6, 4)}, folds=2)
    assert choice.others["bon"].mean == 0.0
    assert choice.others["hedged_best_of_n"].mean == pytest.approx(0.75)
    assert choice.others["hedged_soft_best_of_n"].mean == pytest.approx(0.75)


def test_scores_that_are_all_equal_leave_majority_vote() -> None:
    pool, _ = pool_of_two_against_two(4)
    assert choose_vote(pool, {"min": torch.full((4, 4), 0.3)}, folds=2).vote.eta == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 5}, "n is 5; it must be at least 1, and at most 4"),
        ({"n": 0}, "n is 0; it must be at least 1"),
        ({"folds": 1}, "folds is 1; it must be at least 2, and at most 4, the number of problems"),
        ({"folds": 5}, "folds is 5; it must be at least 2, and at most 4, the number of problems"),
        ({"etas": []}, "etas is empty"),
    ],
)
def test_what_cannot_be_chosen_is_refused(settings: dict[str, object], message: str) -> None:
    pool, scores_PN = pool_of_two_against_two(4)
    with pytest.raises(ValueError, match=message):
        choose_vote(pool, {"min": scores_PN}, **{"folds": 2, **settings})  # type: ignore[arg-type]
