import math
import re
from collections import Counter
from itertools import product

import pytest
import torch

from erprm.metrics import bootstrap_interval, paired_bootstrap_interval, paired_permutation_test
from erprm.metrics.functional.resampling import percentile_interval, resampled_means


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
