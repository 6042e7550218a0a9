import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from erprm.metrics import majority_vote_accuracy, majority_vote_curves
from tests.metrics.enumeration import majority_vote, mean_over_subsets

POOL = st.lists(st.tuples(st.integers(-1, 4), st.floats(0, 1)), min_size=1, max_size=9)


def expected_curve(pool: list[tuple[int, float]]) -> list[float]:
    answers, correct = zip(*pool, strict=True)
    vote = majority_vote(answers, correct)
    return [mean_over_subsets(len(pool), n, vote) for n in range(1, len(pool) + 1)]


@given(st.lists(POOL, min_size=1, max_size=3))
def test_majority_vote_equals_mean_over_all_subsets(pools: list[list[tuple[int, float]]]) -> None:
    width = max(map(len, pools))
    rows = [[(*candidate, 1) for candidate in pool] + [(0, 9.0, 0)] * (width - len(pool)) for pool in pools]
    answers, correct, valid = torch.tensor(rows, dtype=torch.float64).unbind(dim=2)
    curves = majority_vote_curves(answers.long(), correct, valid.bool())
    for pool, curve in zip(pools, curves, strict=True):
        assert curve[: len(pool)].tolist() == pytest.approx(expected_curve(pool), abs=1e-12)
        assert curve[len(pool) :].isnan().all()


@pytest.mark.parametrize(
    "answers",
    [
        [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5],
        [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, -1, -1],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1],
    ],
)
def test_many_tied_answers_are_broken_fairly(answers: list[int]) -> None:
    pool = [(answer, float(answer == 0)) for answer in answers]
    curve = majority_vote_curves(torch.tensor([answers]), torch.tensor([answers]) == 0)[0]
    assert curve.tolist() == pytest.approx(expected_curve(pool), abs=1e-12)


def test_majority_of_two_of_three_by_hand() -> None:
    # {7, 7} is right, {7, 4} twice a tie that is right half of the time.
    answers, correct = torch.tensor([[7, 7, 4]]), torch.tensor([[True, True, False]])
    assert majority_vote_accuracy(answers, correct, n=2).item() == pytest.approx(2 / 3)
    assert majority_vote_accuracy(answers, correct, n=3).item() == pytest.approx(1)


def test_distinct_answers_give_mean_accuracy_at_every_n_of_a_large_pool() -> None:
    # Every subset is a tie of all its answers: each candidate wins with equal probability.
    curve = majority_vote_curves(torch.arange(256)[None], torch.arange(256)[None] < 64)[0]
    assert curve.tolist() == pytest.approx([0.25] * 256, abs=1e-11)


def test_answers_of_equal_size_win_equally_often_in_a_large_pool() -> None:
    answers = torch.arange(240)[None] // 30
    curve = majority_vote_curves(answers, answers < 2)[0]
    assert curve.tolist() == pytest.approx([2 / 8] * 240, abs=1e-11)


def test_two_answers_in_the_largest_pool_win_by_symmetry() -> None:
    # 20 candidates give one answer, 20 another, the other 1960 none: somebody votes unless all n come from those.
    answers = torch.full((1, 2000), -1)
    answers[0, :40] = torch.arange(40) % 2
    curve = majority_vote_curves(answers, answers == 0)[0]
    expected = [0.5 * (1 - math.comb(1960, n) / math.comb(2000, n)) for n in range(1, 2001)]
    assert curve.tolist() == pytest.approx(expected, abs=1e-9)


def test_candidates_without_answer_never_win() -> None:
    answers, correct = torch.tensor([[-1, -1, -1, 5]]), torch.tensor([[False, False, False, True]])
    # The one vote wins whenever it is drawn.
    assert majority_vote_curves(answers, correct)[0].tolist() == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1])
    assert majority_vote_curves(torch.full((1, 4), -1), torch.ones(1, 4))[0].tolist() == [0, 0, 0, 0]


def test_ids_need_not_be_small_or_shared_between_problems() -> None:
    large = 2**62
    answers = torch.tensor([[large, 3, large], [8, 8, large]])
    correct = torch.tensor([[True, False, True], [False, False, True]])
    assert majority_vote_curves(answers, correct)[:, 2].tolist() == pytest.approx([1, 0])


def test_bad_input_is_refused() -> None:
    correct = torch.ones(1, 2)
    with pytest.raises(ValueError, match=re.escape("answers_PN must hold integers, found torch.float32")):
        majority_vote_curves(torch.zeros(1, 2), correct)
    with pytest.raises(ValueError, match="answers_PN of problem 0, candidate 1 is -2: ids start at -1"):
        majority_vote_curves(torch.tensor([[0, -2]]), correct)
    with pytest.raises(ValueError, match=re.escape("answers_PN must have shape [1, 2], found [2]")):
        majority_vote_curves(torch.tensor([0, 1]), correct)
    with pytest.raises(ValueError, match="n is 3, but problem 0 has only 2 candidates"):
        majority_vote_accuracy(torch.tensor([[0, 1]]), correct, n=3)
    with pytest.raises(ValueError, match="pools may have up to 2000 candidates, found 2001"):
        majority_vote_curves(torch.zeros(1, 2001, dtype=torch.long), torch.ones(1, 2001))
