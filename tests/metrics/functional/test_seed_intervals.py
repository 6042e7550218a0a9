import math

import pytest
import torch

from erprm.metrics.functional.resampling import bootstrap_interval
from erprm.metrics.functional.seed_intervals import seeds_and_problems_interval, student_t_quantile


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    # From a printed table of Student's t, two-sided 5%.
    [(1, 12.706), (2, 4.303), (3, 3.182), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_student_t_quantiles_are_those_of_the_printed_table(degrees: int, quantile: float) -> None:
    assert student_t_quantile(0.975, degrees) == pytest.approx(quantile, abs=6e-4)


def test_quantile_of_many_degrees_is_near_the_normal_one() -> None:
    assert student_t_quantile(0.975, 1e9) == pytest.approx(1.96, abs=0.003)


def half_width(values: list[list[float]]) -> float:
    low, high = seeds_and_problems_interval(torch.tensor(values)[..., None])
    mean = torch.tensor(values).double().mean().item()
    assert (low.item() + high.item()) / 2 == pytest.approx(mean)
    return (high.item() - low.item()) / 2


def test_seeds_that_agree_leave_the_interval_of_problems() -> None:
    # Problem means 0, 1, 1: MS of problems 2 * (2/3) / 2 = 2/3, all else 0; 2 degrees; 6 values.
    assert half_width([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]) == pytest.approx(4.3027 * math.sqrt(2 / 3 / 6), abs=1e-3)


def test_problems_that_agree_leave_the_interval_of_seeds() -> None:
    # Seed means 0 and 1: MS of seeds 3 * (1/4 + 1/4) / 1 = 3/2, all else 0; 1 degree; 6 values.
    assert half_width([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]) == pytest.approx(12.7062 * math.sqrt(1.5 / 6), abs=1e-3)


def test_a_component_of_problems_below_nothing_counts_as_nothing() -> None:
    # Seed means 1/3, 1; problem means 1/2, 1/2, 1; mean 2/3.
    # MS of seeds: 3 * 2 * (1/3)^2 / 1 = 2/3. MS of problems: 2 * ((1/6)^2 * 2 + (1/3)^2) / 2 = 1/6.
    # Residuals of seed 0: 0 - 1/3 - 1/2 + 2/3 = -1/6, twice, and 1 - 1/3 - 1 + 2/3 = 1/3; of seed 1 the opposite.
    # MS of residuals: 2 * (2/36 + 1/9) / 2 = 1/6, no less than that of problems.
    values = [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    assert half_width(values) == pytest.approx(12.7062 * math.sqrt(2 / 3 / 6), abs=1e-3)


def test_a_component_of_seeds_below_nothing_counts_as_nothing() -> None:
    # Seed means 1/2 and 3/4, problem means 1/2, 1, 1, 0, mean 5/8. MS of seeds: 4 * 2 * (1/8)^2 = 1/8; of problems
    # 2 * (1/64 + 2 * 9/64 + 25/64) / 3 = 11/24. Residuals of seed 0: 0 - 1/2 - 1/2 + 5/8 = -3/8 and thrice 1/8, squared
    # 12/64 in all: MS 2 * 12/64 / 3 = 1/8, no less than that of seeds.
    values = [[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    assert half_width(values) == pytest.approx(3.1824 * math.sqrt(11 / 24 / 8), abs=1e-3)


def test_three_terms_are_kept_where_seeds_and_problems_exceed_the_residual() -> None:
    # Sums of an effect of the seed (0, 1) and of the problem (0, 1, 2), plus 0.1 and -0.1 in opposite corners.
    # Without these MS of seeds is 3/2, of problems 2 * 2 / 2 = 2, of residuals 0. The corners (seed 0, problem 0) and
    # (seed 1, problem 2) get +0.1, the others of these two problems -0.1: seed and problem means stay, and the
    # residuals are the four 0.1s: MS 4 * 0.01 / 2 = 0.02.
    values = [[0.1, 1.0, 1.9], [0.9, 2.0, 3.1]]
    total = 1.5 + 2 - 0.02
    degrees = total**2 / (1.5**2 / 1 + 2**2 / 2 + 0.02**2 / 2)
    assert 2.84 < degrees < 2.86
    assert half_width(values) == pytest.approx(student_t_quantile(0.975, degrees) * math.sqrt(total / 6), rel=1e-6)


def test_one_seed_leaves_the_bootstrap_over_problems() -> None:
    values_PC = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert torch.equal(
        torch.stack(seeds_and_problems_interval(values_PC[None])), torch.stack(bootstrap_interval(values_PC))
    )


def test_columns_have_intervals_of_their_own_and_equal_values_one_of_no_width() -> None:
    low, high = seeds_and_problems_interval(torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]]))
    assert low[0] == high[0] == 1.0
    assert high[1] > low[1]


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        (torch.zeros(2, 3), 0.95, r"shape \[S, P, C\]"),
        (torch.zeros(0, 3, 1), 0.95, "not be empty"),
        (torch.zeros(2, 1, 1), 0.95, "at least 2"),
        (torch.full((2, 2, 1), torch.nan), 0.95, r"\[0, 0, 0\] is NaN"),
        (torch.zeros(2, 2, 1), 1.0, "level"),
    ],
)
def test_values_that_have_no_interval_are_refused(values: torch.Tensor, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeds_and_problems_interval(values, level)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    # 3 seeds and 60 problems, equal variances of seeds and residuals, half of it for problems; the truth is 0. The
    # degrees of freedom are an approximation, which comes to 93% with three seeds; the standard error is 0.004.
    generator = torch.Generator().manual_seed(0)
    times = 5000
    seeds = torch.randn(3, 1, times, generator=generator)
    problems = 0.5**0.5 * torch.randn(1, 60, times, generator=generator)
    low, high = seeds_and_problems_interval(seeds + problems + torch.randn(3, 60, times, generator=generator))
    assert 0.91 < ((low < 0) & (high > 0)).double().mean() < 0.97
