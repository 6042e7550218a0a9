"""Rewards of beliefs against closed forms, enumeration, and mpmath's 40 digits."""

import math
from itertools import product

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch

from erprm.rewards import belief_reward, binary_reward, fit_beta_prior, posterior_reward

INF = math.inf


def exact_belief(alpha: float, beta: float, eta: float) -> float:
    with mpmath.workdps(40):
        return float(mpmath.log(mpmath.hyp1f1(alpha, alpha + beta, eta)) / eta)


# The value of a belief ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [-800.0, -30.0, -1.0, -0.1, 0.1, 1.0, 5.0, 600.0])
def test_a_uniform_belief_has_a_closed_form(eta: float) -> None:
    # E[e^(eta p)] = (e^eta - 1) / eta
    log_mean = math.log(math.expm1(eta) / eta) if eta < 700 else eta - math.log(eta)
    assert belief_reward([1.0], [1.0], eta).item() == pytest.approx(log_mean / eta, abs=1e-12)


@pytest.mark.parametrize("eta", [-1e6, -4000.0, -50.0, -2.0, -1e-3, 1e-9, 0.5, 3.0, 50.0, 300.0, 4000.0, 1e6])
def test_beliefs_agree_with_mpmath(eta: float) -> None:
    parameters = [0.01, 0.5, 1.0, 3.7, 25.0]
    pairs = list(product(parameters, parameters))
    alpha, beta = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    expected = [exact_belief(*pair, eta) for pair in pairs]
    torch.testing.assert_close(
        belief_reward(alpha, beta, eta), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-8
    )


def test_a_certain_belief_far_from_the_tail_agrees_with_mpmath() -> None:
    assert belief_reward([1000.0], [1000.0], 2500.0).item() == pytest.approx(exact_belief(1000, 1000, 2500), abs=1e-8)


def test_limits_of_beliefs() -> None:
    alpha, beta = [1.0, 3.0], [3.0, 1.0]
    assert belief_reward(alpha, beta, 0.0).tolist() == [0.25, 0.75]
    assert belief_reward(alpha, beta, INF).tolist() == [1.0, 1.0]
    assert belief_reward(alpha, beta, -INF).tolist() == [0.0, 0.0]


def test_pessimism_prefers_the_certain_step_and_optimism_the_uncertain_one() -> None:
    certain, uncertain = belief_reward([50.0, 0.5], [50.0, 0.5], -3.0)
    assert certain > uncertain
    certain, uncertain = belief_reward([50.0, 0.5], [50.0, 0.5], 3.0)
    assert certain < uncertain


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, INF])
def test_parameters_that_are_none_are_refused_by_place(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"beta must be above 0 and finite, got .* at index \[1\]"):
        belief_reward([1.0, 1.0], [1.0, wrong], 1.0)


# The prior ------------------------------------------------------------------------------------------------------------


def test_a_prior_that_can_match_every_frequency_does() -> None:
    # Beta(2, 1) and K = 2: P(0), P(1), P(2) right = B(2, 3), 2 B(3, 2), B(4, 1), over B(2, 1): 1/6, 1/3, 1/2.
    prior = fit_beta_prior([0, 1, 1, 2, 2, 2], [2] * 6)
    assert prior == pytest.approx((2.0, 1.0), rel=1e-4)


def test_steps_without_completions_say_nothing_of_the_prior() -> None:
    assert fit_beta_prior([[0, 1], [2, 0]], [[2, 2], [2, 0]]) == pytest.approx((1.0, 1.0), rel=1e-4)


def test_steps_that_differ_by_chance_alone_share_one_rate() -> None:
    # 1/4, 1/2, 1/4 of the steps have 0, 1, 2 heads of a fair coin, and one more has 1.
    alpha, beta = fit_beta_prior([0, 1, 1, 1, 2], [2] * 5)
    assert alpha / (alpha + beta) == pytest.approx(0.5)
    assert alpha + beta > 1e4


def test_steps_that_always_or_never_succeed_leave_nothing_to_doubt() -> None:
    alpha, beta = fit_beta_prior([0, 4, 0, 4], [4] * 4)
    assert alpha + beta < 1e-3


@pytest.mark.parametrize(
    ("successes", "trials", "message"),
    [
        ([0, 0], [4, 4], "all 8 completions are wrong"),
        ([4, 2], [4, 2], "all 6 completions are right"),
        ([0, 1], [1, 1], "no step has two completions"),
        ([], [], "no step has two completions"),
        ([0.5, 1], [2, 2], r"successes must be whole numbers from 0 on, got 0\.5 at index \[0\]"),
        ([0, 1], [2, math.nan], r"trials must be whole numbers from 0 on, got nan at index \[1\]"),
        ([0, 3], [2, 2], r"3 successes of 2 trials at index \[1\]"),
        ([0, 1], [2], r"successes have the shape \[2\], trials \[1\]"),
    ],
)
def test_counts_to_which_nothing_can_be_fitted_are_refused(
    successes: list[float], trials: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_beta_prior(successes, trials)


# The posterior mean of the reward -------------------------------------------------------------------------------------


def test_the_posterior_mean_at_eta_0_is_that_of_the_rate() -> None:
    # Beta(2 + s, 3 + K - s): (2 + s) / (5 + K)
    assert posterior_reward([0, 3, 0], [3, 3, 0], 0.0, (2.0, 3.0)).tolist() == [2 / 8, 5 / 8, 2 / 5]


def test_infinite_eta_leaves_no_differences() -> None:
    assert posterior_reward([0, 3], [3, 3], INF, (2.0, 3.0)).tolist() == [1.0, 1.0]
    assert posterior_reward([0, 3], [3, 3], -INF, (2.0, 3.0)).tolist() == [0.0, 0.0]


def summed_reward(alpha: float, beta: float, eta: float) -> float:
    """``E[ln(1 - p + p e^eta)] / eta`` by the series of ln(1 - c x) and the moments of x, with c = 1 - e^-|eta|.

    For eta < 0, x is p; for eta > 0 it is 1 - p, since ln(1 - p + p e^eta) = eta + ln(1 - (1 - p) c).
    """
    first, second = (alpha, beta) if eta < 0 else (beta, alpha)
    k = np.arange(1, 2_000_001)
    moments = np.cumprod((first + k - 1) / (first + second + k - 1))
    mean_log = -float((np.exp(k * np.log(-np.expm1(-abs(eta)))) * moments / k).sum())
    return mean_log / eta if eta < 0 else 1 + mean_log / eta


@pytest.mark.parametrize("eta", [-10.0, -2.0, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("prior", [(0.05, 0.2), (1.0, 1.0), (300.0, 20.0)])
def test_posterior_means_agree_with_their_series(eta: float, prior: tuple[float, float]) -> None:
    expected = [summed_reward(prior[0] + s, prior[1] + 4 - s, eta) for s in (0, 1, 4)]
    assert posterior_reward([0, 1, 4], [4, 4, 4], eta, prior).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("eta", [-200.0, 200.0])
def test_posterior_means_at_a_large_eta_agree_with_their_series(eta: float) -> None:
    # With exponents of 5 and more the moments fall fast enough for the series to end.
    expected = [summed_reward(5.0 + s, 9.0 - s, eta) for s in (0, 2, 4)]
    assert posterior_reward([0, 2, 4], [4, 4, 4], eta, (5.0, 5.0)).tolist() == pytest.approx(expected, abs=1e-9)


def test_the_posterior_mean_near_eta_0_adds_half_the_variance() -> None:
    # R = p + eta p (1 - p) / 2 + ..., and a uniform p has E[p (1 - p)] = 1/6.
    assert posterior_reward([0], [0], 1e-3, (1.0, 1.0)).item() == pytest.approx(0.5 + 1e-3 / 12, abs=1e-7)


def test_many_completions_leave_the_reward_of_their_share() -> None:
    found = posterior_reward([400_000], [1_000_000], 5.0, (0.5, 0.5))
    assert found.item() == pytest.approx(binary_reward(torch.tensor([0.4]).double(), 5.0).item(), abs=1e-5)


def test_steps_keep_their_places() -> None:
    counts = torch.tensor([[2, 0], [1, 2]])
    found = posterior_reward(counts, torch.full((2, 2), 2), 2.0, (1.0, 1.0))
    assert found.shape == (2, 2)
    assert found[0, 0] == found[1, 1] > found[1, 0] > found[0, 1]


def test_a_pair_of_counts_may_stand_for_many_steps() -> None:
    prior = fit_beta_prior([0, 3, 4], [4, 4, 4], [2, 1, 3])
    assert prior == pytest.approx(fit_beta_prior([0, 0, 3, 4, 4, 4], [4] * 6))
    with pytest.raises(ValueError, match=r"successes have the shape \[2\], steps \[3\]"):
        fit_beta_prior([0, 1], [2, 2], [1, 1, 1])
