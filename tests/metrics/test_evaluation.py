import math

import pytest
import torch

from erprm.metrics.estimate import Estimate
from erprm.metrics.evaluation import (
    SCORE_METHODS,
    Candidates,
    accuracy_curve,
    differences,
    pool_curves,
    powers_of_two,
    score_curves,
)

POOL = Candidates(
    correct_PN=torch.tensor([[True, False, False], [True, True, False]]),
    answers_PN=torch.tensor([[0, 1, 1], [0, 0, 1]]),
    texts_PN=torch.tensor([[0, 1, 2], [0, 0, 1]]),
    valid_PN=torch.ones(2, 3, dtype=torch.bool),
)


def test_powers_of_two_end_with_the_largest() -> None:
    assert powers_of_two(1) == [1]
    assert powers_of_two(8) == [1, 2, 4, 8]
    assert powers_of_two(100) == [1, 2, 4, 8, 16, 32, 64, 100]


def test_a_curve_is_the_mean_over_problems_at_the_chosen_n() -> None:
    curve = accuracy_curve(torch.tensor([[0.0, 0.2, 1.0], [1.0, 0.4, 1.0]], dtype=torch.float64), [1, 3])
    assert curve.n == [1, 3]
    assert curve.mean == [0.5, 1.0]
    # Equal values leave nothing to resample.
    assert curve.at(3) == Estimate(1.0, 1.0, 1.0)


def test_pool_curves_by_hand() -> None:
    curves = pool_curves(POOL, [1, 2, 3])
    # Pairs with a right one: 2 of 3, 3 of 3.
    assert curves["pass"].mean == pytest.approx([1 / 2, 5 / 6, 1.0])
    assert curves["random"].mean == pytest.approx([1 / 2] * 3)
    # Two votes: the first problem's pairs are tie, tie, wrong; the second's right, tie, tie.
    assert curves["majority"].mean == pytest.approx([1 / 2, (1 / 3 + 2 / 3) / 2, 1 / 2])
    # Of all three, a random ranking of texts picks the right one of 3 texts, then of 2: seeded draws, so roughly.
    assert curves["random_text"].mean[2] == pytest.approx((1 / 3 + 1 / 2) / 2, abs=0.1)


def test_score_curves_by_hand() -> None:
    scores = torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.1, 0.3]])
    curves = score_curves(POOL, scores, [1, 3])
    assert curves["bon"].mean == pytest.approx([1 / 2, 1 / 2])
    assert curves["weighted_vote"].mean == pytest.approx([1 / 2, 1 / 2])


def test_an_unscored_candidate_is_picked_last_and_casts_no_vote() -> None:
    scores = torch.tensor([[0.2, -math.inf, 0.1], [0.5, 0.1, 0.3]])
    curves = score_curves(POOL, scores, [3])
    assert curves["bon"].mean == [1.0]
    assert curves["weighted_vote"].mean == [1.0]
    assert curves["entropic_vote"].mean == [1.0]


def test_negative_scores_give_no_weighted_vote() -> None:
    assert set(score_curves(POOL, -torch.ones(2, 3), [1])) == {"bon", "entropic_vote"}


def test_the_entropic_vote_is_majority_vote_at_eta_0_and_best_of_n_at_infinity() -> None:
    scores = torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.1, 0.3]])
    at_zero, at_infinity = (score_curves(POOL, scores, [1, 2, 3], eta)["entropic_vote"] for eta in (0.0, math.inf))
    assert at_zero.mean == pytest.approx(pool_curves(POOL, [1, 2, 3])["majority"].mean)
    assert at_infinity.mean == pytest.approx(score_curves(POOL, scores, [1, 2, 3])["bon"].mean)


def test_differences_of_every_two_methods_with_interval_and_p_value() -> None:
    one = torch.tensor([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]], dtype=torch.float64)
    found = differences({"one": one, "other": torch.zeros(3, 2), "third": one + 1e-16}, [1, 2])
    assert [(each.method, each.baseline) for each in found] == [("one", "other"), ("one", "third"), ("other", "third")]
    assert found[0].mean == [0.5, 1.0]
    # At n = 2 the gain is the same on all problems: certain, and as extreme are 2 of 8 sign patterns. At n = 1 the
    # gains are 0, 1/2 and 1: the sign of the first means nothing, so 4 of 8.
    assert (found[0].low[1], found[0].high[1], found[0].p_value) == (1.0, 1.0, [0.5, 0.25])
    assert 0.0 <= found[0].low[0] < 0.5 < found[0].high[0] <= 1.0
    assert (found[1].mean, found[1].low, found[1].p_value) == ([0.0, 0.0], [0.0, 0.0], [1.0, 1.0])


def test_a_method_of_selection_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORE_METHODS, "worst", lambda pool, scores_PN, eta: SCORE_METHODS["bon"](pool, -scores_PN, 0))
    scores = torch.tensor([[0.9, 0.2, 0.1], [0.9, 0.5, 0.1]])
    curves = score_curves(POOL, scores, [1, 3])
    assert curves["bon"].mean == [0.5, 1.0]
    assert curves["worst"].mean == [0.5, 0.0]
