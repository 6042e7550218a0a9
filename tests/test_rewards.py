"""The reward family against hand arithmetic, 60-digit decimal arithmetic and exact enumeration."""

import math
from decimal import Context, Decimal, localcontext
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from erprm.rewards import binary_reward, entropy_regularized_reward, jackknife_reward, reward_standard_error

INF = math.inf
# A few roundings of numbers up to 1 in float64.
ROUNDING = 1e-14

unit_interval = st.floats(0.0, 1.0)
reward_lists = st.lists(unit_interval, min_size=1, max_size=12)
finite_etas = st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(-12, 6).map(lambda exponent: 10.0**exponent),
    st.floats(-12, 6).map(lambda exponent: -(10.0**exponent)),
)
etas = st.one_of(finite_etas, st.sampled_from([0.0, INF, -INF]))


def float64(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def reward_of(rewards: list[float], eta: float) -> float:
    return entropy_regularized_reward(float64(rewards), eta).item()


def decimal_reward(rewards: list[float], eta: float) -> float:
    """The formula as the paper writes it, in 60 digits and with nothing done for stability."""
    with localcontext(Context(prec=60, Emax=10**9, Emin=-(10**9))):
        mean = sum(((Decimal(eta) * Decimal(r)).exp() for r in rewards), Decimal(0)) / len(rewards)
        return float(mean.ln() / Decimal(eta))


def decimal_jackknife(rewards: list[float], eta: float) -> float:
    K = len(rewards)
    without_one = [decimal_reward(rewards[:i] + rewards[i + 1 :], eta) for i in range(K)]
    return K * decimal_reward(rewards, eta) - (K - 1) * sum(without_one) / K


def binomial_weights(K: int, p: float) -> Tensor:
    return float64([math.comb(K, k) * p**k * (1 - p) ** (K - k) for k in range(K + 1)])


def rows_with_k_successes(K: int) -> Tensor:
    return float64([[1.0] * k + [0.0] * (K - k) for k in range(K + 1)])


# The formula ---------------------------------------------------------------------------------------------------------


def test_eta_zero_equals_mean_of_rewards() -> None:
    assert reward_of([1.0, 0.0, 1.0, 1.0], 0.0) == 0.75
    assert reward_of([0.5, 0.25, 0.0, 1.0], 0.0) == 0.4375


def test_infinite_eta_equals_maximum_and_minimum() -> None:
    assert reward_of([0.25, 0.75, 0.5], INF) == 0.75
    assert reward_of([0.25, 0.75, 0.5], -INF) == 0.25


def test_one_success_in_two_by_hand() -> None:
    # exp(ln 3 * 1) = 3, exp(0) = 1, their mean is 2, so R = ln 2 / ln 3.
    assert reward_of([1.0, 0.0], math.log(3)) == pytest.approx(math.log(2) / math.log(3), abs=ROUNDING)
    # exp(-ln 3) = 1/3, so the mean is 2/3 and R = ln(3/2) / ln 3.
    assert reward_of([0.0, 1.0], -math.log(3)) == pytest.approx(math.log(1.5) / math.log(3), abs=ROUNDING)


def test_real_valued_rewards_by_hand() -> None:
    # eta = 2 ln 2: exp(eta * 0) = 1, exp(eta / 2) = 2, exp(eta) = 4, their mean is 7/3.
    expected = math.log(7 / 3) / (2 * math.log(2))
    assert reward_of([0.0, 0.5, 1.0], 2 * math.log(2)) == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("eta", [sign * size for size in (1e-12, 1e-6, 0.1, 1.0, 10.0, 1e4, 1e6) for sign in (1, -1)])
@pytest.mark.parametrize(
    "rewards",
    [[1.0, 0.0], [1.0] + [0.0] * 15, [1.0] * 15 + [0.0], [0.0] * 4, [1.0] * 4, [0.1, 0.7, 0.3], [0.3, 0.3 + 1e-9, 1.0]],
    ids=lambda rewards: f"{sum(rewards):.4g}_of_{len(rewards)}",
)
def test_agrees_with_the_formula_in_60_digits(rewards: list[float], eta: float) -> None:
    assert reward_of(rewards, eta) == pytest.approx(decimal_reward(rewards, eta), abs=ROUNDING)


@given(reward_lists, finite_etas.filter(lambda eta: abs(eta) > 1e-12))
def test_agrees_with_the_formula_in_60_digits_on_any_rewards(rewards: list[float], eta: float) -> None:
    assert reward_of(rewards, eta) == pytest.approx(decimal_reward(rewards, eta), abs=ROUNDING)


@pytest.mark.parametrize("eta", [5e-324, -1e-310, 1e-18, 1e300, -1e300, 1.7e308])
def test_etas_at_the_ends_of_the_float_range_give_the_limits(eta: float) -> None:
    limit = 0.5 if abs(eta) < 1 else float(eta > 0)
    assert reward_of([1.0, 0.0], eta) == pytest.approx(limit, abs=ROUNDING)


@given(reward_lists, etas, etas)
def test_reward_never_falls_in_eta(rewards: list[float], eta: float, other_eta: float) -> None:
    low, high = sorted([eta, other_eta])
    assert reward_of(rewards, low) <= reward_of(rewards, high) + ROUNDING


def test_reward_rises_strictly_over_a_grid_of_etas() -> None:
    sizes = [10.0**exponent for exponent in range(-6, 7)]
    grid = [-INF, *(-size for size in reversed(sizes)), 0.0, *sizes, INF]
    values = [reward_of([0.2, 0.9, 0.4], eta) for eta in grid]
    assert all(low < high for low, high in pairwise(values))


@given(reward_lists, st.data(), etas)
def test_reward_never_falls_in_any_single_reward(rewards: list[float], data: st.DataObject, eta: float) -> None:
    at = data.draw(st.integers(0, len(rewards) - 1))
    raised = list(rewards)
    raised[at] = data.draw(st.floats(rewards[at], 1.0))
    assert reward_of(rewards, eta) <= reward_of(raised, eta) + ROUNDING


@given(reward_lists, etas)
def test_reward_lies_between_minimum_and_maximum_exactly(rewards: list[float], eta: float) -> None:
    assert min(rewards) <= reward_of(rewards, eta) <= max(rewards)


@given(unit_interval, st.integers(1, 12), etas)
def test_equal_rewards_give_themselves_exactly(reward: float, K: int, eta: float) -> None:
    assert reward_of([reward] * K, eta) == reward


@given(reward_lists.flatmap(lambda rewards: st.tuples(st.just(rewards), st.permutations(rewards))), etas)
def test_order_of_completions_does_not_matter(pair: tuple[list[float], list[float]], eta: float) -> None:
    rewards, shuffled = pair
    assert reward_of(rewards, eta) == pytest.approx(reward_of(shuffled, eta), abs=ROUNDING)


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=12), st.floats(0.0, 0.5), etas)
def test_adding_a_constant_to_every_reward_adds_it_to_the_result(
    rewards: list[float], constant: float, eta: float
) -> None:
    shifted = [reward + constant for reward in rewards]
    assert reward_of(shifted, eta) == pytest.approx(reward_of(rewards, eta) + constant, abs=ROUNDING)


@given(reward_lists, etas)
def test_mirrored_rewards_at_minus_eta_give_the_mirrored_result(rewards: list[float], eta: float) -> None:
    mirrored = [1.0 - reward for reward in rewards]
    assert reward_of(mirrored, -eta) == pytest.approx(1.0 - reward_of(rewards, eta), abs=ROUNDING)


def test_leading_dimensions_are_a_batch() -> None:
    rewards = float64([[[1, 0], [0, 0]], [[1, 1], [0, 1]], [[0, 0], [1, 1]]])
    values = entropy_regularized_reward(rewards, math.log(3))
    mixed = math.log(2) / math.log(3)
    torch.testing.assert_close(values, float64([[mixed, 0.0], [1.0, mixed], [0.0, 1.0]]), rtol=0, atol=ROUNDING)


@pytest.mark.filterwarnings("ignore:std")  # torch's, of a tensor without elements
def test_an_empty_batch_gives_an_empty_result() -> None:
    for function in (entropy_regularized_reward, reward_standard_error, jackknife_reward):
        assert function(torch.zeros(0, 4), 2.0).shape == (0,)


def test_rewards_are_left_as_they_were() -> None:
    rewards = float64([1.0, 0.0, 1.0])
    for function in (entropy_regularized_reward, reward_standard_error, jackknife_reward, binary_reward):
        function(rewards, 2.0)
    assert rewards.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("eta", [1e-12, 1e-6, 2.0, 1e6])
def test_narrow_float_dtypes_are_kept_and_only_the_result_is_rounded(dtype: torch.dtype, eta: float) -> None:
    value = entropy_regularized_reward(torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype), eta)
    assert value.dtype == dtype
    assert value == torch.tensor(decimal_reward([1.0, 0.0, 0.0, 1.0], eta), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_integers_and_booleans_give_float32(dtype: torch.dtype) -> None:
    value = entropy_regularized_reward(torch.tensor([1, 0, 1, 1]).to(dtype), 0.0)
    assert value.dtype == torch.float32
    assert value.item() == 0.75


# The dual reading: pi*, proportional to pi0 * exp(eta * r), sees the same value as a soft minimum ---------------------


@pytest.mark.parametrize("eta", [-3.0, 0.5, 2.0, 10.0])
def test_dual_identity_by_enumeration_of_a_finite_space(eta: float) -> None:
    completions = list(product("ab", repeat=3))
    probability = {c: math.prod(0.7 if letter == "a" else 0.3 for letter in c) for c in completions}
    reward = {c: c.count("b") / 3 for c in completions}

    normaliser = math.fsum(probability[c] * math.exp(eta * reward[c]) for c in completions)
    tilted = {c: probability[c] * math.exp(eta * reward[c]) / normaliser for c in completions}
    from_pi0 = math.log(normaliser) / eta
    from_pi_star = -math.log(math.fsum(tilted[c] * math.exp(-eta * reward[c]) for c in completions)) / eta
    assert from_pi_star == pytest.approx(from_pi0, abs=ROUNDING)

    # 0.7 and 0.3 are tenths, so 1000 samples hold every completion in exactly its share.
    samples = [reward[c] for c in completions for _ in range(round(1000 * probability[c]))]
    assert len(samples) == 1000
    assert reward_of(samples, eta) == pytest.approx(from_pi0, abs=1e-12)


def test_dual_identity_through_the_library_function() -> None:
    # e^(eta r) = 1, 2 on the rewards 0, 1 with pi0 = (3, 1) / 4: pi* = (3, 2) / 5.
    eta = math.log(2)
    under_pi0 = [0.0] * 3 + [1.0] * 1
    under_pi_star = [0.0] * 3 + [1.0] * 2
    assert reward_of(under_pi0, eta) == pytest.approx(math.log(5 / 4) / math.log(2), abs=ROUNDING)
    assert reward_of(under_pi_star, -eta) == pytest.approx(reward_of(under_pi0, eta), abs=ROUNDING)

    # e^(eta r) = 1, 2, 4 on the rewards 0, 1/2, 1 with pi0 = (1, 2, 3) / 6: pi* = (1, 4, 12) / 17.
    eta = 2 * math.log(2)
    under_pi0 = [0.0] * 1 + [0.5] * 2 + [1.0] * 3
    under_pi_star = [0.0] * 1 + [0.5] * 4 + [1.0] * 12
    assert reward_of(under_pi0, eta) == pytest.approx(math.log(17 / 6) / eta, abs=ROUNDING)
    assert reward_of(under_pi_star, -eta) == pytest.approx(reward_of(under_pi0, eta), abs=ROUNDING)


# Known success rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [1e-12, -1e-12, 1e-6, 0.9, -0.9, 1.1, -1.1, 20.0, -20.0, 800.0, -800.0, 1e6, -1e6])
def test_binary_reward_equals_rewards_of_a_sample_with_that_share(eta: float) -> None:
    K = 20
    from_samples = float64([decimal_reward([1.0] * k + [0.0] * (K - k), eta) for k in range(K + 1)])
    rates = float64([k / K for k in range(K + 1)])
    torch.testing.assert_close(binary_reward(rates, eta), from_samples, rtol=0, atol=ROUNDING)


def test_binary_reward_limits() -> None:
    p = float64([0.0, 1e-9, 0.5, 1.0])
    assert binary_reward(p, 0.0).tolist() == p.tolist()
    assert binary_reward(p, INF).tolist() == [0.0, 1.0, 1.0, 1.0]
    assert binary_reward(p, -INF).tolist() == [0.0, 0.0, 0.0, 1.0]


@given(unit_interval, unit_interval, etas, etas)
def test_binary_reward_never_falls_in_eta_or_in_the_rate(p: float, q: float, eta: float, other: float) -> None:
    low_p, high_p = sorted([p, q])
    low_eta, high_eta = sorted([eta, other])
    low = binary_reward(float64([low_p]), low_eta).item()
    high = binary_reward(float64([high_p]), high_eta).item()
    assert 0.0 <= low <= high + ROUNDING <= 1.0 + ROUNDING


# Standard error -------------------------------------------------------------------------------------------------------


def test_standard_error_by_hand() -> None:
    # Two successes in four at eta = ln 3: y = 3, 3, 1, 1; mean 2, sd = sqrt(4 / 3), error = sd / (2 * ln 3 * 2).
    expected = math.sqrt(4 / 3) / (4 * math.log(3))
    for eta in (math.log(3), -math.log(3)):
        error = reward_standard_error(float64([1.0, 1.0, 0.0, 0.0]), eta)
        assert error.item() == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize("eta", [0.0, 1e-300, 1e-12, -1e-12, 1e-9])
def test_standard_error_near_eta_zero_is_that_of_the_mean(eta: float) -> None:
    # Three successes in four: variance (3 * (1/4)^2 + (3/4)^2) / 3 = 1/4, so the mean's error is (1/2) / 2.
    assert reward_standard_error(float64([1.0, 1.0, 1.0, 0.0]), eta).item() == pytest.approx(0.25, abs=1e-9)


@pytest.mark.parametrize("eta", [1e4, -1e4, 1e6, -1e6])
def test_standard_error_at_huge_eta_is_finite(eta: float) -> None:
    # y is 1 for the two extreme rewards and 0 for the others: mean 1/2, sd = sqrt(1/3), so 1 / (sqrt(3) * |eta|).
    error = reward_standard_error(float64([1.0, 1.0, 0.0, 0.0]), eta).item()
    assert error == pytest.approx(1 / (math.sqrt(3) * abs(eta)), rel=1e-12)


def test_standard_error_of_equal_rewards_is_zero() -> None:
    for eta in (-1e6, -2.0, 0.0, 1e-12, 2.0, 1e6):
        assert reward_standard_error(float64([[0.3] * 5, [1.0] * 5]), eta).tolist() == [0.0, 0.0]


@pytest.mark.filterwarnings("error")
def test_standard_error_is_nan_where_it_is_not_defined() -> None:
    assert reward_standard_error(torch.tensor([[1.0], [0.0]]), 2.0).isnan().all()
    assert reward_standard_error(torch.tensor([[1.0, 0.0]]), INF).isnan().all()
    assert reward_standard_error(torch.tensor([[1.0, 0.0]]), -INF).isnan().all()


@pytest.mark.parametrize("eta", [-2.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("p", [0.3, 0.5, 0.8])
def test_standard_error_matches_the_true_spread_over_all_outcomes(p: float, eta: float) -> None:
    K = 200
    weights, outcomes = binomial_weights(K, p), rows_with_k_successes(K)
    values = entropy_regularized_reward(outcomes, eta)
    true_spread = ((weights * values**2).sum() - (weights * values).sum() ** 2).sqrt().item()
    estimated = (weights * reward_standard_error(outcomes, eta) ** 2).sum().sqrt().item()
    assert estimated == pytest.approx(true_spread, rel=0.04)


# Jackknife ------------------------------------------------------------------------------------------------------------


def test_jackknife_by_hand() -> None:
    # Rewards 1, 0 at eta = ln 3: R = ln 2 / ln 3; without the 1 it is 0, without the 0 it is 1; 2 R - (0 + 1) / 2.
    expected = 2 * math.log(2) / math.log(3) - 0.5
    assert jackknife_reward(float64([1.0, 0.0]), math.log(3)).item() == pytest.approx(expected, abs=ROUNDING)


@given(st.lists(unit_interval, min_size=2, max_size=8), finite_etas.filter(lambda eta: abs(eta) > 1e-12))
def test_jackknife_agrees_with_leaving_one_out_in_60_digits(rewards: list[float], eta: float) -> None:
    expected = decimal_jackknife(rewards, eta)
    assert jackknife_reward(float64(rewards), eta).item() == pytest.approx(expected, abs=1e-12)


def test_jackknife_at_eta_zero_is_the_mean() -> None:
    assert jackknife_reward(float64([1.0, 0.0, 0.0, 0.0]), 0.0).item() == 0.25


def test_jackknife_at_infinite_eta_by_hand() -> None:
    # The maximum without the 1 is 1/2, else 1: 3 * 1 - 2 * (1/2 + 1 + 1) / 3 = 4/3. The minimum mirrors it.
    assert jackknife_reward(float64([0.5, 1.0, 0.0]), INF).item() == pytest.approx(4 / 3, abs=ROUNDING)
    assert jackknife_reward(float64([0.5, 1.0, 0.0]), -INF).item() == pytest.approx(-1 / 3, abs=ROUNDING)
    # Two equal maxima: leaving one out changes nothing.
    assert jackknife_reward(float64([1.0, 1.0, 0.0]), INF).item() == pytest.approx(1.0, abs=ROUNDING)


def test_jackknife_is_not_clipped_to_the_unit_interval() -> None:
    # One success in eight at eta = 10: 8 (10 - ln 8) / 10 - (7/8) * 7 * (10 - ln 7) / 10, e^-10 being next to nothing.
    expected = 8 * (10 - math.log(8)) / 10 - 49 / 8 * (10 - math.log(7)) / 10
    value = jackknife_reward(float64([1.0] + [0.0] * 7), 10.0).item()
    assert value == pytest.approx(expected, abs=1e-3)
    assert value > 1.0


# The table of docs/method.md: K = 8 completions, to 4 decimals.
EXACT_MOMENTS = [
    # eta, success rate, true reward, bias and spread of the plain estimate, bias and spread of the jackknife
    (2.0, 0.1, 0.2470, -0.0398, 0.1973, -0.0056, 0.2216),
    (2.0, 0.5, 0.7169, -0.0205, 0.1494, 0.0032, 0.1365),
    (2.0, 0.9, 0.9548, -0.0027, 0.0535, 0.0003, 0.0500),
    (10.0, 0.1, 0.7698, -0.3040, 0.4060, -0.0655, 0.6383),
    (10.0, 0.5, 0.9307, -0.0105, 0.0706, 0.0176, 0.1039),
    (10.0, 0.9, 0.9895, -0.0008, 0.0128, 0.0001, 0.0117),
]


@pytest.mark.parametrize(
    ("eta", "p", "true_reward", "bias", "spread", "jackknife_bias", "jackknife_spread"), EXACT_MOMENTS
)
def test_bias_and_spread_over_all_256_outcomes(
    eta: float,
    p: float,
    true_reward: float,
    bias: float,
    spread: float,
    jackknife_bias: float,
    jackknife_spread: float,
) -> None:
    truth = math.log(1 - p + p * math.exp(eta)) / eta
    assert truth == pytest.approx(true_reward, abs=5e-5)

    outcomes = list(product([0.0, 1.0], repeat=8))
    chance = [p ** sum(o) * (1 - p) ** (8 - sum(o)) for o in outcomes]

    def moments(estimates: list[float]) -> tuple[float, float]:
        mean = math.fsum(c * e for c, e in zip(chance, estimates, strict=True))
        variance = math.fsum(c * (e - mean) ** 2 for c, e in zip(chance, estimates, strict=True))
        return mean - truth, math.sqrt(variance)

    # The published table from 60-digit arithmetic; both estimates depend on the number of successes alone.
    samples = [[1.0] * k + [0.0] * (8 - k) for k in range(9)]
    plain = [decimal_reward(sample, eta) for sample in samples]
    jackknife = [decimal_jackknife(sample, eta) for sample in samples]
    expected_plain = moments([plain[int(sum(o))] for o in outcomes])
    expected_jackknife = moments([jackknife[int(sum(o))] for o in outcomes])
    assert expected_plain == pytest.approx((bias, spread), abs=5e-5)
    assert expected_jackknife == pytest.approx((jackknife_bias, jackknife_spread), abs=5e-5)

    # The library on all outcomes.
    rewards = float64([list(o) for o in outcomes])
    assert moments(entropy_regularized_reward(rewards, eta).tolist()) == pytest.approx(expected_plain, abs=1e-12)
    assert moments(jackknife_reward(rewards, eta).tolist()) == pytest.approx(expected_jackknife, abs=1e-12)


@pytest.mark.parametrize("eta", [-2.0, 1.0, 2.0])
@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_jackknife_bias_falls_by_four_when_k_doubles(p: float, eta: float) -> None:
    """The order 1 / K is gone: what is left of the bias falls as 1 / K^2, that of the plain estimate as 1 / K."""
    truth = math.log(1 - p + p * math.exp(eta)) / eta
    bias, jackknife_bias = {}, {}
    for K in (200, 400):
        weights, outcomes = binomial_weights(K, p), rows_with_k_successes(K)
        bias[K] = (weights * entropy_regularized_reward(outcomes, eta)).sum().item() - truth
        jackknife_bias[K] = (weights * jackknife_reward(outcomes, eta)).sum().item() - truth
    assert bias[200] / bias[400] == pytest.approx(2.0, rel=0.05)
    assert jackknife_bias[200] / jackknife_bias[400] == pytest.approx(4.0, rel=0.2)


# Bad input ------------------------------------------------------------------------------------------------------------

REWARD_FUNCTIONS = [entropy_regularized_reward, reward_standard_error, jackknife_reward]
ALL_FUNCTIONS = [*REWARD_FUNCTIONS, binary_reward]


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
@pytest.mark.parametrize("bad", [math.nan, -0.001, 1.001, INF])
def test_rewards_outside_the_unit_interval_are_named_with_their_index(function: Any, bad: float) -> None:
    rewards = torch.full((3, 4), 0.5, dtype=torch.float64)
    rewards[1, 2] = bad
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\], got {bad} at index \[1, 2\]"):
        function(rewards, 2.0)


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
def test_eta_that_is_a_word_is_refused_with_what_is_accepted(function: Any) -> None:
    with pytest.raises(ValueError, match=r"eta is 'high'; it must be a number, inf, -inf, soft \(0\) or hard \(inf\)"):
        function(torch.tensor([1.0, 0.0]), "high")


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
@pytest.mark.parametrize("eta", [None, True, torch.tensor(2.0)])
def test_eta_of_another_type_is_refused(function: Any, eta: Any) -> None:
    with pytest.raises(TypeError, match=r"eta is .*; it must be a number"):
        function(torch.tensor([1.0, 0.0]), eta)


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
def test_eta_nan_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match="eta is nan; it must be a number"):
        function(torch.tensor([1.0, 0.0]), math.nan)


def test_eta_may_be_an_integer_or_a_numpy_number() -> None:
    rewards = float64([1.0, 0.0])
    assert entropy_regularized_reward(rewards, 2) == entropy_regularized_reward(rewards, 2.0)
    assert entropy_regularized_reward(rewards, np.float32(2.0)) == entropy_regularized_reward(rewards, 2.0)


@pytest.mark.parametrize("function", REWARD_FUNCTIONS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_no_completions_are_refused(function: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one completion in its last dimension, got the shape"):
        function(torch.zeros(shape), 2.0)


def test_jackknife_of_one_completion_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 2 completions a prefix"):
        jackknife_reward(torch.tensor([[1.0], [0.0]]), 2.0)


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
def test_rewards_that_are_no_real_numbers_are_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="must hold real numbers"):
        function(torch.tensor([1.0 + 0j, 0.0]), 2.0)
