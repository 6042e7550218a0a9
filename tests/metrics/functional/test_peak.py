from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from erprm.metrics import best_of_n_curves, peak_of_best_of_n
from erprm.metrics.functional.peak import _correct_at_ranks

# Chances that a candidate is right, by L = -ln(share of candidates that score higher).
CHANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "falls smoothly": lambda L: (-1 + 1.2 * L - 0.15 * L * L).sigmoid(),
    "falls smoothly, and soon": lambda L: (-0.5 + 1.2 * L - 0.2 * L * L).sigmoid(),
    "rises, stays and drops": lambda L: 0.3 + 0.5 * (2 * (L - 1)).sigmoid() - 0.5 * (2 * (L - 5)).sigmoid(),
    "rises fast and falls slowly": lambda L: 0.3 + 0.6 * ((-L / 8).exp() - (-L / 0.7).exp()),
    "rises to a limit": lambda L: 0.3 + 0.6 * (1 - (-L / 1.5).exp()),
    "rises": lambda L: (-1 + 0.6 * L).sigmoid(),
}


def exact_accuracies(chance: Callable[[Tensor], Tensor], ns: range) -> Tensor:
    """Accuracy at each n: the mean over the density n (1 - v)^(n - 1) of v, by the midpoint rule."""
    v = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    right = chance(-v.log())
    return torch.stack([(n * (1 - v) ** (n - 1) * right).mean() for n in ns])


def pool_of(chance: Callable[[Tensor], Tensor], problems: int, candidates: int) -> tuple[Tensor, Tensor]:
    """Scores and correctness, as often right at each rank as the chance says, but for rounding.

    The mean over the density of the k-th of N order statistics of v, by the midpoint rule.
    """
    v = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    columns = []
    for rank in range(candidates):  # 0 is the best
        density = v**rank * (1 - v) ** (candidates - 1 - rank)
        rate = (density * chance(-v.log())).sum() / density.sum()
        columns.append(torch.arange(problems) < round(problems * float(rate)))
    scores = -torch.arange(candidates, dtype=torch.float64).expand(problems, candidates)
    return scores, torch.stack(columns, dim=1)


@pytest.mark.parametrize("name", CHANCES)
def test_the_peak_of_a_known_curve_is_found_before_it_is_seen(name: str) -> None:
    candidates, reach = 16, 64
    exact = exact_accuracies(CHANCES[name], range(1, reach + 1))
    found = peak_of_best_of_n(*pool_of(CHANCES[name], 20_000, candidates), n_resamples=20)
    assert found.reach == reach
    if int(exact.argmax()) + 1 == reach:
        assert found.n == reach
    else:
        assert found.n < reach
        # At the n that was found, accuracy is less than half a percentage point below the highest.
        assert float(exact.max() - exact[found.n - 1]) < 0.005
    assert found.low <= found.n <= found.high


def test_ranks_reproduce_best_of_n_with_ties_padding_and_unscored_candidates() -> None:
    # The best of n has rank 0 among n random candidates, which is what the exact curve averages over.
    scores = torch.tensor([[0.3, 0.9, 0.9, 0.1, 0.5], [0.2, 0.7, -torch.inf, 0.7, 9.0]])
    correct = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0, 1.0]])
    valid = torch.tensor([[True] * 5, [True] * 4 + [False]])
    curves = best_of_n_curves(scores, correct, valid)
    for n in range(1, 5):
        ranks = _correct_at_ranks(scores.double(), correct.double(), valid, n)
        torch.testing.assert_close(ranks[:, 0], curves[:, n - 1].double())
        torch.testing.assert_close(ranks.mean(1), curves[:, 0].double())


def test_where_all_are_right_there_is_a_number_and_no_error() -> None:
    found = peak_of_best_of_n(torch.rand(4, 8), torch.ones(4, 8), n_resamples=5)
    assert 1 <= found.low <= found.high <= found.reach == 32


def test_pools_that_say_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 problem\(s\) with 7 candidates or more; a peak is estimated"):
        peak_of_best_of_n(torch.rand(3, 7), torch.ones(3, 7))
    with pytest.raises(ValueError, match="reach is 0 and n_resamples 200; both must be at least 1"):
        peak_of_best_of_n(torch.rand(3, 8), torch.ones(3, 8), reach=0)
