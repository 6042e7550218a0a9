import math
import re
from collections import Counter
from itertools import product

import pytest
import torch

from erprm.metrics import paired_bootstrap_interval, paired_permutation_test
from erprm.metrics.functional.resampling import (
    bootstrap_interval,
    percentile_interval,
    resampled_means,
    seeds_and_problems_interval,
    student_t_interval,
    student_t_quantile,
)


def test_interval_of_a_coin_is_the_binomial_one() -> None:
    # The mean of a resample is Binomial(100, 1/2) / 100, whose 2.5% and 97.5% quantiles are 0.40 and 0.60:
    # P(X <= 39) = 0.0176, P(X <= 40) = 0.0284.
    values = torch.tensor([0.0, 1.0] * 50)
    low, high = bootstrap_interval(values, n_resamples=20_000)
    assert (low.item(), high.item()) == pytest.approx((0.40, 0.60), abs=1e-9)


def test_level_sets_the_quantiles() -> None:
    # Quartiles of Binomial(100, 1/2): P(X <= 46) = 0.2421, P(X <= 47) = 0.3086.
    low, high = bootstrap_interval(torch.tensor([0.0, 1.0] * 50), level=0.5, n_resamples=20_000)
    assert (low.item(), high.item()) == pytest.approx((0.47, 0.53), abs=1e-9)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    # 5,000 independent evaluations of 200 problems each, as columns: the standard error of their share is 0.003.
    values = (torch.rand(200, 5000, generator=torch.Generator().manual_seed(0)) < 0.7).double()
    low, high = bootstrap_interval(values, n_resamples=1000)
    covered = ((low <= 0.7) & (high >= 0.7)).double().mean()
    assert 0.92 <= covered <= 0.97


def test_columns_are_the_intervals_of_each_column() -> None:
    values = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    low, high = bootstrap_interval(values)
    for column in range(3):
        low_alone, high_alone = bootstrap_interval(values[:, column])
        assert (low[column].item(), high[column].item()) == pytest.approx((low_alone.item(), high_alone.item()))


def test_paired_interval_of_a_constant_gain_has_no_width() -> None:
    baseline = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = paired_bootstrap_interval(baseline + 0.25, baseline)
    assert (low.item(), high.item()) == pytest.approx((0.25, 0.25))


def test_paired_interval_of_one_flipped_problem_in_four() -> None:
    # One problem of four gains 1: the mean gain of a resample is Binomial(4, 1/4) / 4, with
    # P(X = 0) = 0.316, P(X <= 2) = 0.949 and P(X <= 3) = 0.996.
    values, baseline = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    low, high = paired_bootstrap_interval(values, baseline, n_resamples=20_000)
    assert (low.item(), high.item()) == pytest.approx((0, 0.75))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("must have shape [P] or [P, n] and not be empty, found [0]")):
        bootstrap_interval(torch.tensor([]))
    with pytest.raises(ValueError, match=re.escape("found [1, 1, 1]")):
        bootstrap_interval(torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match=re.escape("values_P[1, 0] is NaN")):
        bootstrap_interval(torch.tensor([[0.5], [torch.nan]]))
    with pytest.raises(ValueError, match="level must lie between 0 and 1, found 95"):
        bootstrap_interval(torch.zeros(3), level=95)
    with pytest.raises(ValueError, match="n_resamples must be at least 1, found 0"):
        bootstrap_interval(torch.zeros(3), n_resamples=0)
    with pytest.raises(ValueError, match=re.escape("baseline_P must have shape [3], found [2]")):
        paired_bootstrap_interval(torch.zeros(3), torch.zeros(2))


def test_resampled_means_are_distributed_as_the_enumeration_of_all_samples() -> None:
    values = [0.0, 0.25, 1.0]
    # All 27 samples of three problems, each as likely.
    exact = Counter(round(sum(sample) / 3, 9) for sample in product(values, repeat=3))
    drawn = Counter(round(mean, 9) for mean in resampled_means(torch.tensor(values), n_resamples=20_000).tolist())
    assert drawn.keys() == exact.keys()
    for mean, count in exact.items():
        share = count / 27
        # Five standard errors of a share.
        assert abs(drawn[mean] / 20_000 - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


def test_a_statistic_that_some_samples_leave_undefined_has_the_interval_of_the_others() -> None:
    low, high = percentile_interval(torch.tensor([math.nan, 0.0, 1.0, math.nan, 2.0]), level=0.5)
    assert (low.item(), high.item()) == (0.5, 1.5)


def p_by_enumeration(differences: list[float]) -> float:
    """Share of all sign patterns with a sum as far from 0, on integers so that nothing is rounded."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed for value in sums) / len(sums)


@pytest.mark.parametrize(
    "differences", [[1.0], [3.0, -1.0], [1.0, 2.0, 0.0, -2.0], [5.0, 4.0, -1.0, 3.0, 2.0, 0.0, 7.0]]
)
def test_few_problems_are_enumerated(differences: list[float]) -> None:
    values = torch.tensor(differences)
    expected = p_by_enumeration(differences)
    assert paired_permutation_test(values, torch.zeros_like(values)).item() == pytest.approx(expected, abs=1e-12)


def test_many_problems_are_estimated_near_the_enumeration() -> None:
    differences = [1.0, 2.0, -1.0, 3.0, 0.0, 1.0, -2.0, 2.0, 1.0, 1.0, -1.0, 2.0, 1.0, -3.0]
    values = torch.tensor(differences)
    p = paired_permutation_test(values, torch.zeros(14)).item()  # 2^14 patterns are more than 10,000
    # Five standard errors of a share of 10,000 draws.
    expected = p_by_enumeration(differences)
    assert abs(p - expected) < 5 * math.sqrt(expected * (1 - expected) / 10_000)


def test_many_equal_gains_have_the_smallest_p_that_can_be_estimated() -> None:
    assert paired_permutation_test(torch.ones(100), torch.zeros(100), n_permutations=999).item() == 1 / 1000


def test_columns_are_tested_each_for_itself() -> None:
    values = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert paired_permutation_test(values, torch.zeros(3, 2)).tolist() == [0.25, 1.0]


def test_values_that_differ_by_rounding_are_equal() -> None:
    values = torch.full((20,), 0.1, dtype=torch.float64) + 0.2
    assert paired_permutation_test(values, torch.full((20,), 0.3, dtype=torch.float64)).item() == 1.0


def test_bad_input_of_a_permutation_test_is_refused() -> None:
    with pytest.raises(ValueError, match=r"baseline_P must have shape \[3\], found \[2\]"):
        paired_permutation_test(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="not be empty"):
        paired_permutation_test(torch.ones(0), torch.ones(0))
    with pytest.raises(ValueError, match="n_permutations must be at least 1, found 0"):
        paired_permutation_test(torch.ones(3), torch.ones(3), n_permutations=0)
    with pytest.raises(ValueError, match=r"NaN at \[1\]"):
        paired_permutation_test(torch.tensor([1.0, math.nan]), torch.ones(2))


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    # From a printed table of Student's t, two-sided 5%.
    [(1, 12.706), (2, 4.303), (3, 3.182), (10, 2.228), (30, 2.042), (120, 1.980)],
)
def test_student_t_quantiles_are_those_of_the_printed_table(degrees: int, quantile: float) -> None:
    assert student_t_quantile(0.975, degrees) == pytest.approx(quantile, abs=6e-4)


def test_intervals_of_a_few_repetitions_are_student_s_t() -> None:
    # 1, 2, 3: a standard deviation of 1, a standard error of 1 / sqrt(3), two degrees of freedom; 5 thrice: none.
    low_C, high_C = student_t_interval([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert low_C.tolist() == pytest.approx([2 - 4.3027 / 3**0.5, 5.0], abs=1e-4)
    assert high_C.tolist() == pytest.approx([2 + 4.3027 / 3**0.5, 5.0], abs=1e-4)
    # Two values, half of their distance as the standard error, one degree.
    low, high = student_t_interval([0.25, 0.75])
    assert (low.item(), high.item()) == pytest.approx((0.5 - 12.7062 / 4, 0.5 + 12.7062 / 4), abs=1e-4)


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ([1.0], 0.95, "W at least 2, found [1]"),
        ([[[1.0]], [[2.0]]], 0.95, "W at least 2, found [2, 1, 1]"),
        ([[1.0, 2.0], [1.0, math.nan]], 0.95, "values_W[1, 1] is NaN"),
        ([1.0, 2.0], 1.0, "level must lie between 0 and 1, found 1.0"),
    ],
)
def test_repetitions_that_allow_no_interval_are_refused(values: list[object], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        student_t_interval(values, level)


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
