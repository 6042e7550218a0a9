import math
import re
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from erprm.metrics import best_of_n_accuracy, best_of_n_curves, pass_at_n, pass_at_n_curves
from tests.metrics.enumeration import best_of, mean_over_subsets

SCORES = st.sampled_from([-math.inf, -1.5, 0.0, 0.25, 1.0, math.inf])
CANDIDATES = st.lists(st.tuples(SCORES, st.floats(0, 1)), min_size=1, max_size=8)


@given(CANDIDATES)
def test_best_of_n_equals_mean_over_all_subsets(candidates: list[tuple[float, float]]) -> None:
    scores, correct = zip(*candidates, strict=True)
    curve = best_of_n_curves(torch.tensor([scores]), torch.tensor([correct], dtype=torch.float64))[0]
    expected = [mean_over_subsets(len(scores), n + 1, best_of(scores, correct)) for n in range(len(scores))]
    assert curve.tolist() == pytest.approx(expected, abs=1e-12)


@given(st.lists(CANDIDATES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_padding_anywhere_in_a_row_does_not_count(pools: list[list[tuple[float, float]]], random: Random) -> None:
    width = max(map(len, pools)) + 2
    rows = []
    for pool in pools:
        row = [(score, right, True) for score, right in pool] + [(math.nan, math.nan, False)] * (width - len(pool))
        random.shuffle(row)
        rows.append(row)
    scores, correct, valid = torch.tensor(rows, dtype=torch.float64).unbind(dim=2)
    curves = best_of_n_curves(scores, correct, valid.bool())
    for pool, curve in zip(pools, curves, strict=True):
        alone = best_of(*zip(*pool, strict=True))
        expected = [mean_over_subsets(len(pool), n + 1, alone) for n in range(len(pool))]
        assert curve[: len(pool)].tolist() == pytest.approx(expected, abs=1e-12)
        assert curve[len(pool) :].isnan().all()


def test_best_of_two_of_three_by_hand() -> None:
    # The subsets {a, b}, {a, c}, {b, c} are won by a (wrong), a (wrong), b (right).
    scores, correct = torch.tensor([[0.9, 0.7, 0.2]]), torch.tensor([[False, True, False]])
    assert best_of_n_accuracy(scores, correct, n=2).item() == pytest.approx(1 / 3)


def test_accuracy_is_the_mean_over_problems() -> None:
    scores = torch.tensor([[0.9, 0.7], [0.9, 0.7], [0.1, 0.2]])
    correct = torch.tensor([[True, False], [False, True], [False, True]])
    assert best_of_n_accuracy(scores, correct, n=2).item() == pytest.approx(2 / 3)


@given(CANDIDATES)
def test_best_of_one_is_mean_accuracy(candidates: list[tuple[float, float]]) -> None:
    scores, correct = zip(*candidates, strict=True)
    accuracy = best_of_n_accuracy(torch.tensor([scores]), torch.tensor([correct], dtype=torch.float64), n=1)
    assert accuracy.item() == pytest.approx(sum(correct) / len(correct), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_constant_scores_give_mean_accuracy_at_every_n(correct: list[float]) -> None:
    curve = best_of_n_curves(torch.full((1, len(correct)), 0.3), torch.tensor([correct], dtype=torch.float64))
    mean = sum(correct) / len(correct)
    assert curve[0].tolist() == pytest.approx([mean] * len(correct), abs=1e-11)


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_perfect_scorer_and_pass_at_n_equal_the_binomial_formula(correct: list[bool]) -> None:
    size, right = len(correct), sum(correct)
    expected = [1 - math.comb(size - right, n) / math.comb(size, n) for n in range(1, size + 1)]
    correct_1N = torch.tensor([correct])
    assert best_of_n_curves(2 * correct_1N.float() - 5, correct_1N)[0].tolist() == pytest.approx(expected, abs=1e-11)
    assert pass_at_n_curves(correct_1N)[0].tolist() == pytest.approx(expected, abs=1e-11)


def test_pass_at_n_by_hand() -> None:
    # One right of four: two drawn miss it in C(3, 2) / C(4, 2) = 1/2 of the subsets; two right of four, in 1/6.
    correct = torch.tensor([[True, False, False, False], [True, True, False, False]])
    assert pass_at_n(correct, n=2).item() == pytest.approx((1 / 2 + 5 / 6) / 2)


def test_pass_at_n_of_soft_correctness_is_the_expected_maximum() -> None:
    assert pass_at_n(torch.tensor([[0.25, 0.5, 1.0]]), n=2).item() == pytest.approx((0.5 + 1 + 1) / 3)


def test_a_large_pool_stays_exact() -> None:
    # The only right candidate is the best of 2000: it is kept whenever it is drawn, with probability n / 2000.
    scores = torch.arange(2000.0)[None]
    curve = best_of_n_curves(scores, scores == 1999)[0]
    assert curve.tolist() == pytest.approx([n / 2000 for n in range(1, 2001)], rel=1e-9)


def test_n_larger_than_a_pool_names_problem_and_sizes() -> None:
    correct = torch.tensor([[True, False, True], [True, False, False], [True, True, True]])
    valid = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])
    message = "n is 3, but problem 1 has only 2 candidates (2 of 3 problems have fewer than 3)"
    with pytest.raises(ValueError, match=re.escape(message)):
        pass_at_n(correct, 3, valid)
    with pytest.raises(ValueError, match=re.escape(message)):
        best_of_n_accuracy(correct.float(), correct, 3, valid)


@pytest.mark.parametrize(
    ("n", "message"), [(0, "n must be at least 1, found 0"), (4, "n is 4, but problem 0 has only 3")]
)
def test_n_out_of_range_is_refused(n: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_of_n_accuracy(torch.zeros(2, 3), torch.zeros(2, 3), n)


def test_nan_score_names_problem_and_candidate() -> None:
    scores = torch.tensor([[0.1, 0.2], [0.3, torch.nan]])
    with pytest.raises(ValueError, match="scores_PN of problem 1, candidate 1 is nan"):
        best_of_n_curves(scores, torch.ones(2, 2))


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan])
def test_correctness_outside_zero_to_one_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"correct_PN of problem 0, candidate 1 is {value}"):
        best_of_n_curves(torch.zeros(1, 2), torch.tensor([[1.0, value]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("scores", "correct", "valid", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), None, "scores_PN must have shape [2, 4], found [2, 3]"),
        (torch.zeros(3), torch.zeros(3), None, "correct_PN must have shape [problems, candidates], found [3]"),
        (torch.zeros(0, 3), torch.zeros(0, 3), None, "correct_PN is empty, found shape [0, 3]"),
        (
            torch.zeros(1, 2),
            torch.zeros(1, 2),
            torch.ones(1, 3).bool(),
            "valid_PN must have shape [1, 2], found [1, 3]",
        ),
        (torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2), "valid_PN must be boolean, found torch.float32"),
        (
            torch.zeros(2, 1),
            torch.zeros(2, 1),
            torch.tensor([[True], [False]]),
            "valid_PN leaves problem 1 without a candidate",
        ),
    ],
)
def test_malformed_pools_are_refused(
    scores: torch.Tensor, correct: torch.Tensor, valid: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        best_of_n_curves(scores, correct, valid)
