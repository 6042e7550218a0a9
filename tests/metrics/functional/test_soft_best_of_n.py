import math

import pytest
import torch

from erprm.metrics import best_of_n_curves, soft_best_of_n_accuracy, soft_best_of_n_curves
from tests.metrics.enumeration import mean_over_subsets, soft_best_of

SCORES = [0.1, 0.9, 0.5, 0.8, 0.8, 0.2]
CORRECT = [1.0, 0.0, 1.0, 0.25, 1.0, 0.0]


def rows(values: list[float], number: int) -> torch.Tensor:
    return torch.tensor([values] * number, dtype=torch.float64)


def test_it_estimates_the_mean_over_all_subsets() -> None:
    draw = soft_best_of([math.exp(3.0 * score) for score in SCORES], CORRECT)
    expected = [mean_over_subsets(6, n, draw) for n in range(1, 7)]
    curves = soft_best_of_n_curves(rows(SCORES, 100), rows(CORRECT, 100), eta=3.0, n_draws=200)
    # 20,000 draws: a standard error of at most 0.0036.
    assert curves.mean(dim=0).tolist() == pytest.approx(expected, abs=6 * 0.0036)
    assert curves[0, [0, -1]].tolist() == pytest.approx([expected[0], expected[-1]], abs=1e-12)


def test_eta_zero_is_a_random_candidate_and_infinity_best_of_n() -> None:
    scores, correct = rows(SCORES, 1), rows(CORRECT, 1)
    mean = sum(CORRECT) / 6
    assert soft_best_of_n_curves(scores, correct, 0.0)[0].tolist() == pytest.approx([mean] * 6)
    assert torch.equal(soft_best_of_n_curves(scores, correct, math.inf), best_of_n_curves(scores, correct))
    large = soft_best_of_n_curves(scores, correct, 1e300, n_draws=1)[0, -1].item()
    assert large == best_of_n_curves(scores, correct)[0, -1].item() == 0.0


def test_padding_is_never_read_and_a_candidate_without_a_score_never_chosen() -> None:
    scores = torch.tensor([[0.5, math.nan, 0.5], [-math.inf, 0.0, -2.0]])
    correct = torch.tensor([[1.0, math.nan, 0.0], [1.0, 0.0, 0.0]])
    valid = torch.tensor([[True, False, True], [True, True, True]])
    curves = soft_best_of_n_curves(scores, correct, 7.0, valid, n_draws=1)
    assert curves[0, :2].tolist() == [0.5, 0.5]
    assert curves[0, 2].isnan()
    assert curves[1, 2].item() == 0.0
    nothing_known = torch.full((1, 2), -math.inf)
    assert soft_best_of_n_accuracy(nothing_known, [[1.0, 0.0]], n=2, eta=1.0).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("scores", "eta", "n_draws", "message"),
    [
        ([[0.1, 0.2]], -1.0, 1, "eta is -1.0; a weight exp.* needs one of at least 0"),
        ([[0.1, math.inf]], 1.0, 1, "scores_PN of problem 0, candidate 1 is inf: a weight is finite"),
        ([[0.1, math.nan]], 1.0, 1, "scores_PN of problem 0, candidate 1 is nan"),
        ([[0.1, 0.2]], 1.0, 0, "n_draws must be at least 1, found 0"),
    ],
)
def test_what_cannot_be_a_weight_is_refused(scores: list[list[float]], eta: float, n_draws: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        soft_best_of_n_curves(torch.tensor(scores), torch.tensor([[1.0, 0.0]]), eta, n_draws=n_draws)
