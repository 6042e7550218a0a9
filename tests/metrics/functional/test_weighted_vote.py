import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.metrics import majority_vote_curves, weighted_vote_accuracy, weighted_vote_curves
from tests.metrics.enumeration import mean_over_subsets, weighted_vote

# Scores are quarters, so sums are exact in the enumeration and ties are frequent.
CANDIDATE = st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(-1, 3))
CORRECTNESS = {-1: 0.0, 0: 1.0, 1: 0.0, 2: 0.25, 3: 0.0}


@settings(max_examples=25)
@given(st.lists(CANDIDATE, min_size=1, max_size=7))
def test_weighted_vote_estimates_mean_over_all_subsets(pool: list[tuple[float, int]]) -> None:
    scores, answers = zip(*pool, strict=True)
    correct = [CORRECTNESS[answer] for answer in answers]
    vote = weighted_vote(scores, answers, correct)
    expected = [mean_over_subsets(len(pool), n, vote) for n in range(1, len(pool) + 1)]

    # The same problem in 100 rows of 200 draws each: a standard error of at most 0.5 / sqrt(20000) = 0.0035.
    scores_PN, answers_PN, correct_PN = (torch.tensor([row] * 100) for row in (scores, answers, correct))
    curves = weighted_vote_curves(scores_PN, answers_PN, correct_PN, n_draws=200)
    assert curves.mean(dim=0).tolist() == pytest.approx(expected, abs=5 * 0.0036)
    assert curves[:, 0].tolist() == pytest.approx([expected[0]] * 100, abs=1e-12)
    assert curves[:, -1].tolist() == pytest.approx([expected[-1]] * 100, abs=1e-12)


def test_one_high_score_outweighs_two_low_ones() -> None:
    answers, correct = torch.tensor([[5, 3, 3]] * 3), torch.tensor([[True, False, False]] * 3)
    scores = torch.tensor([[0.9, 0.3, 0.4], [0.9, 0.6, 0.5], [0.75, 0.5, 0.25]])
    assert weighted_vote_curves(scores, answers, correct)[:, 2].tolist() == [1, 0, 0.5]


def test_equal_scores_give_the_majority_vote() -> None:
    answers = torch.tensor([[0, 0, 0, 1, 1, 2, -1, 3]]).expand(200, 8)
    correct = answers == 0
    # Thirds have no exact float sums: ties must come out as ties all the same.
    curves = weighted_vote_curves(torch.full((200, 8), 1 / 3), answers, correct, n_draws=200)
    expected = majority_vote_curves(answers[:1], correct[:1])[0]
    assert curves.mean(dim=0).tolist() == pytest.approx(expected.tolist(), abs=5 * 0.5 / math.sqrt(200 * 200))


def test_an_answer_counts_with_the_mean_correctness_of_its_candidates() -> None:
    scores, answers = torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[0, 0, 1]])
    assert weighted_vote_accuracy(scores, answers, torch.tensor([[1.0, 0.5, 0.0]]), n=3).item() == 0.75


def test_order_of_candidates_does_not_break_ties() -> None:
    # As floats, (0.1 + 0.2) + 0.3 and (0.3 + 0.2) + 0.1 differ.
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.3, 0.2, 0.1]], dtype=torch.float64)
    answers = torch.tensor([[0, 0, 0, 1, 1, 1]])
    assert weighted_vote_accuracy(scores, answers, answers == 0, n=6).item() == 0.5


def test_scores_of_zero_still_vote_among_themselves() -> None:
    answers, correct = torch.tensor([[0, 0, 1, -1]]), torch.tensor([[True, True, False, False]])
    assert weighted_vote_accuracy(torch.zeros(1, 4), answers, correct, n=4).item() == 0.5


def test_scores_of_candidates_without_answer_do_not_count() -> None:
    answers, correct = torch.tensor([[0, 1, -1]]), torch.tensor([[True, False, False]])
    assert weighted_vote_accuracy(torch.tensor([[0.5, 0.4, 0.9]]), answers, correct, n=3).item() == 1


def test_padding_does_not_count() -> None:
    scores = torch.tensor([[0.2, math.nan, 0.9, 0.3, -1.0]])
    answers, correct = torch.tensor([[0, 1, 1, 0, 1]]), torch.tensor([[1.0, 0.0, 0.0, 1.0, 7.0]])
    valid = torch.tensor([[True, False, True, True, False]])
    curve = weighted_vote_curves(scores, answers, correct, valid)[0]
    assert curve[[0, 2]].tolist() == pytest.approx([2 / 3, 0])
    assert curve[3:].isnan().all()


def test_same_seed_gives_the_same_estimate() -> None:
    scores, answers = torch.rand(4, 12, generator=torch.Generator().manual_seed(1)), torch.arange(12).expand(4, 12) % 5
    curves = [weighted_vote_curves(scores, answers, answers == 0, n_draws=20, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(curves[0], curves[1])
    assert not torch.equal(curves[0], curves[2])


@pytest.mark.parametrize("score", [-0.5, math.inf])
def test_negative_or_infinite_scores_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match=f"scores_PN of problem 0, candidate 1 is {score}"):
        weighted_vote_curves(torch.tensor([[0.5, score]]), torch.tensor([[0, 1]]), torch.ones(1, 2))


def test_other_bad_input_is_refused() -> None:
    scores, answers, correct = torch.ones(1, 2), torch.tensor([[0, 1]]), torch.ones(1, 2)
    with pytest.raises(ValueError, match=re.escape("scores_PN must have shape [1, 2], found [1, 3]")):
        weighted_vote_curves(torch.ones(1, 3), answers, correct)
    with pytest.raises(ValueError, match="scores_PN of problem 0, candidate 0 is nan"):
        weighted_vote_curves(torch.full((1, 2), math.nan), answers, correct)
    with pytest.raises(ValueError, match="n_draws must be at least 1, found 0"):
        weighted_vote_curves(scores, answers, correct, n_draws=0)
    with pytest.raises(ValueError, match="n must be at least 1, found -1"):
        weighted_vote_accuracy(scores, answers, correct, n=-1)
