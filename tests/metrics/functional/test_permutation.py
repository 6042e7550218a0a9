import math
from itertools import product

import pytest
import torch

from erprm.metrics import paired_permutation_test


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


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"baseline_P must have shape \[3\], found \[2\]"):
        paired_permutation_test(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="not be empty"):
        paired_permutation_test(torch.ones(0), torch.ones(0))
    with pytest.raises(ValueError, match="n_permutations must be at least 1, found 0"):
        paired_permutation_test(torch.ones(3), torch.ones(3), n_permutations=0)
    with pytest.raises(ValueError, match=r"NaN at \[1\]"):
        paired_permutation_test(torch.tensor([1.0, math.nan]), torch.ones(2))
