import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.metrics.functional.best_of_n import best_of_n_curves
from erprm.metrics.functional.entropic_vote import (
    default_eta,
    entropic_vote_accuracy,
    entropic_vote_curves,
    score_spread,
)
from erprm.metrics.functional.majority_vote import majority_vote_curves
from erprm.metrics.functional.weighted_vote import weighted_vote_curves
from tests.metrics.enumeration import mean_over_subsets, weighted_vote

CANDIDATE = st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.integers(-1, 3))
CORRECTNESS = {-1: 0.0, 0: 1.0, 1: 0.0, 2: 0.25, 3: 0.0}
ANSWERS = torch.tensor([[0, 0, 0, 1, 1, 2, -1, 3], [1, 0, 2, 2, -1, -1, 0, 1]])
CORRECT = ANSWERS == 0
SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.8, 0.8, 0.2, 0.99, 0.7], [0.3, 0.6, 0.2, 0.4, 0.9, 0.1, 0.5, 0.6]])


@settings(max_examples=25, derandomize=True)
@given(st.lists(CANDIDATE, min_size=1, max_size=7))
def test_the_vote_estimates_the_mean_over_all_subsets(pool: list[tuple[float, int]]) -> None:
    scores, answers = zip(*pool, strict=True)
    correct = [CORRECTNESS[answer] for answer in answers]
    # At eta = ln 4 the weights are powers of four: sums are exact, and four of one score tie with the next.
    vote = weighted_vote([4.0**score for score in scores], answers, correct)
    expected = [mean_over_subsets(len(pool), n, vote) for n in range(1, len(pool) + 1)]
    scores_PN, answers_PN, correct_PN = (torch.tensor([row] * 100) for row in (scores, answers, correct))
    curves = entropic_vote_curves(scores_PN, answers_PN, correct_PN, math.log(4.0), n_draws=200)
    # 20,000 draws: a standard error of at most 0.0036.
    assert curves.mean(dim=0).tolist() == pytest.approx(expected, abs=6 * 0.0036)
    assert curves[:, -1].tolist() == pytest.approx([expected[-1]] * 100, abs=1e-12)


def test_eta_zero_is_majority_vote() -> None:
    assert torch.equal(entropic_vote_curves(SCORES, ANSWERS, CORRECT, 0.0), majority_vote_curves(ANSWERS, CORRECT))


def test_eta_infinity_is_best_of_n_among_candidates_with_an_answer() -> None:
    answered = SCORES.masked_fill(ANSWERS == -1, -math.inf)
    expected = best_of_n_curves(answered, CORRECT)
    assert torch.equal(entropic_vote_curves(SCORES, ANSWERS, CORRECT, math.inf), expected)
    # At eta = 1e6 a difference of 0.1 in score is worth more than any number of votes.
    large = entropic_vote_curves(SCORES, ANSWERS, CORRECT, 1e6, n_draws=20_000)
    torch.testing.assert_close(large, expected, atol=6 * 0.5 / math.sqrt(20_000), rtol=0.0)
    torch.testing.assert_close(large[:, [0, -1]], expected[:, [0, -1]], atol=1e-12, rtol=0.0)


def test_eta_one_of_logarithms_is_the_score_weighted_vote() -> None:
    expected = weighted_vote_curves(SCORES, ANSWERS, CORRECT, n_draws=50)
    found = entropic_vote_curves(SCORES.double().log(), ANSWERS, CORRECT, 1.0, n_draws=50)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0.0)


def test_adding_a_number_to_all_scores_of_a_problem_changes_nothing() -> None:
    shift = torch.tensor([[1e3], [-1e3]], dtype=torch.float64)
    found = entropic_vote_curves(SCORES.double() + shift, ANSWERS, CORRECT, 7.0, n_draws=50)
    torch.testing.assert_close(found, entropic_vote_curves(SCORES, ANSWERS, CORRECT, 7.0, n_draws=50))


def test_a_few_low_scores_still_decide_where_no_high_one_is_drawn() -> None:
    # exp(-1000) is 0 in float64, and yet three such votes beat two wherever the first candidate is not drawn.
    scores = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]).expand(400, 6)
    answers = torch.tensor([[9, 1, 1, 1, 2, 2]]).expand(400, 6)
    curve = entropic_vote_curves(scores, answers, answers == 1, 1000.0, n_draws=100)[:, 4].mean()
    # Of the six subsets of five, five hold the first candidate; the sixth is three votes against two.
    assert curve.item() == pytest.approx(1 / 6, abs=6 * 0.38 / math.sqrt(40_000))


def test_order_of_candidates_does_not_break_ties() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.3, 0.2, 0.1]], dtype=torch.float64)
    answers = torch.tensor([[0, 0, 0, 1, 1, 1]])
    assert entropic_vote_accuracy(scores, answers, answers == 0, n=6, eta=3.7).item() == 0.5


def test_scores_of_minus_infinity_vote_among_themselves_alone() -> None:
    answers = torch.tensor([[0, 0, 1]])
    correct = answers == 1
    low = torch.tensor([[-math.inf, -math.inf, -5.0]])
    assert entropic_vote_accuracy(low, answers, correct, n=3, eta=1.0).item() == 1.0
    assert entropic_vote_accuracy(torch.full((1, 3), -math.inf), answers, correct, n=3, eta=1.0).item() == 0.0


def test_padding_does_not_count() -> None:
    scores = torch.tensor([[0.2, math.nan, 0.9, 0.3, math.inf]])
    answers, correct = torch.tensor([[0, 1, 1, 0, 1]]), torch.tensor([[1.0, 0.0, 0.0, 1.0, 7.0]])
    valid = torch.tensor([[True, False, True, True, False]])
    curve = entropic_vote_curves(scores, answers, correct, 2.0, valid)[0]
    # exp(2 * 0.9) = 6.05 against exp(2 * 0.2) + exp(2 * 0.3) = 3.31
    assert curve[[0, 2]].tolist() == pytest.approx([2 / 3, 0.0])
    assert curve[3:].isnan().all()


@pytest.mark.parametrize(
    ("eta", "message"),
    [(-1.0, "eta is -1.0; a weight exp(eta * score) needs one of at least 0"), (math.nan, "eta is nan; it must be")],
)
def test_an_eta_that_no_vote_has_is_refused(eta: float, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        entropic_vote_curves(SCORES, ANSWERS, CORRECT, eta)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="scores_PN of problem 0, candidate 1 is inf"):
        entropic_vote_curves(torch.tensor([[0.5, math.inf]]), torch.tensor([[0, 1]]), torch.ones(1, 2), 1.0)
    with pytest.raises(ValueError, match="n_draws must be at least 1, found 0"):
        entropic_vote_curves(SCORES, ANSWERS, CORRECT, 1.0, n_draws=0)
    with pytest.raises(ValueError, match="n is 9, but problem 0 has only 8 candidates"):
        entropic_vote_accuracy(SCORES, ANSWERS, CORRECT, 9, 1.0)


def test_the_spread_is_that_within_problems() -> None:
    # Deviations of 0.25 in both problems, whose means differ; padding and missing scores do not count.
    scores = torch.tensor([[0.25, 0.75, 7.0], [0.5, 1.0, -math.inf]])
    valid = torch.tensor([[True, True, False], [True, True, True]])
    assert score_spread(scores, valid) == 0.25
    assert default_eta(scores, valid) == 3 / 0.25
    assert default_eta(torch.full((2, 3), 0.4)) == 0.0
