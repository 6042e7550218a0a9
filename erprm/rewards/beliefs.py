"""Rewards of success rates that are known only as far as some completions show them.

The belief about the success rate p of a step is a Beta distribution. K completions of which s are right turn the prior
``Beta(a, b)`` into the posterior ``Beta(a + s, b + K - s)``; the prior is fitted to all steps of a file (empirical
Bayes). Two rewards follow from a belief, and they answer different questions:

- :func:`posterior_reward`: the best guess at the reward of the step, ``E[R_eta(p)]``. It estimates the same number as
  :func:`erprm.rewards.entropy_regularized_reward` does from the completions alone, with less error at small K.
- :func:`belief_reward`: the reward of the belief itself, ``(1/eta) ln E[exp(eta p)]``, with p in the place of the
  outcome. Here eta is an attitude to uncertainty: below 0 it marks uncertain steps down, above 0 up.

Both compute in float64 and are not differentiable.

Shape suffixes: U distinct pairs, G grid points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from erprm.eta import Eta, read_eta
from erprm.rewards.sampled import ETA_OF_THE_MEAN, binary_reward
from erprm.tensors import Numbers, as_tensor

# Beyond these, steps are all alike, or all either hopeless or safe, as far as float64 and any file can tell.
_LEAST_CONCENTRATION, _MOST_CONCENTRATION = 1e-6, 1e6
# e^-40 is less than float64 resolves beside 1.
_NEGLIGIBLE = 40.0
_GRID = 2001


class BetaPrior(NamedTuple):
    """A Beta distribution of success rates: mean ``alpha / (alpha + beta)``, concentration ``alpha + beta``."""

    alpha: float
    beta: float


def fit_beta_prior(successes: Numbers, trials: Numbers, steps: Numbers | None = None) -> BetaPrior:
    """Fit the distribution of success rates over steps, by maximum marginal likelihood (beta-binomial).

    Where steps differ no more than chance makes them, the concentration ends at 1e6, and where each of them always or
    never succeeds, at 1e-6.

    Args:
        successes: right completions of each step, whole numbers, any shape.
        trials: completions of each step, the same shape; steps without any say nothing.
        steps: how many steps each pair of counts stands for, the same shape; by default one.

    Raises:
        ValueError: if shapes differ; if counts are not whole, negative, or more than the trials; if no step has two
            completions; or if all completions are right, or all wrong: then every prior near 1, or 0, fits.

    Example:
        >>> prior = fit_beta_prior([0, 1, 2], [2, 2, 2])  # as frequent as under a uniform distribution
        >>> round(prior.alpha, 4), round(prior.beta, 4)
        (1.0, 1.0)
    """
    successes_, trials_ = _checked_counts(successes, trials)
    pairs_U2, place = torch.unique(
        torch.stack([successes_.flatten(), trials_.flatten()], dim=1), dim=0, return_inverse=True
    )
    s_U, k_U = pairs_U2.unbind(dim=1)
    steps_ = torch.ones_like(successes_) if steps is None else as_tensor(steps, "steps").double()
    if steps_.shape != successes_.shape:
        raise ValueError(f"successes have the shape {list(successes_.shape)}, steps {list(steps_.shape)}")
    steps_U = torch.zeros(len(pairs_U2), dtype=torch.float64).index_add(0, place, steps_.flatten())
    total, right = float(k_U @ steps_U), float(s_U @ steps_U)
    if not (k_U > 1).any():
        raise ValueError("no step has two completions, so nothing shows how much success rates differ between steps")
    if right in (0.0, total):
        raise ValueError(
            f"all {total:.0f} completions are {'right' if right else 'wrong'}: no distribution of success rates can be "
            "fitted to them"
        )
    share = right / total
    point = torch.tensor([math.log(share / (1 - share)), 0.0], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [point], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def beta_of(point: Tensor) -> tuple[Tensor, Tensor]:
        bounds = math.log(_LEAST_CONCENTRATION), math.log(_MOST_CONCENTRATION)
        concentration = point[1].clamp(*bounds).exp()
        return point[0].sigmoid() * concentration, (-point[0]).sigmoid() * concentration

    def loss() -> Tensor:
        search.zero_grad()
        alpha, beta = beta_of(point)
        log_likelihood_U = log_beta(alpha + s_U, beta + k_U - s_U) - log_beta(alpha, beta)
        negative: Tensor = -(log_likelihood_U * steps_U).sum() / steps_U.sum()
        negative.backward()
        return negative

    with torch.enable_grad():
        search.step(loss)
    alpha, beta = beta_of(point.detach())
    return BetaPrior(float(alpha), float(beta))


def posterior_reward(successes: Numbers, trials: Numbers, eta: Eta, prior: tuple[float, float]) -> Tensor:
    """Compute the posterior mean of the entropy-regularized reward: ``E[ln(1 - p + p e^eta) / eta]``.

    Args:
        successes: right completions of each step, whole numbers, any shape.
        trials: completions of each step, the same shape; a step with none gets the mean under the prior.
        eta: as in :func:`erprm.rewards.entropy_regularized_reward`; 0 gives the posterior mean of p. ``inf`` gives 1
            and ``-inf`` 0 for every step, since no belief excludes a success or a failure.
        prior: alpha and beta, such as :func:`fit_beta_prior` gives.

    Returns:
        Rewards in [0, 1], float64, the shape of ``successes``.

    Raises:
        ValueError: as :func:`fit_beta_prior` for the counts, and if the prior or ``eta`` is not valid.

    Example:
        >>> posterior_reward([0, 2], [2, 2], eta=0.0, prior=(1.0, 1.0))
        tensor([0.2500, 0.7500], dtype=torch.float64)
    """
    eta = read_eta(eta)
    successes_, trials_ = _checked_counts(successes, trials)
    prior_alpha, prior_beta = (_checked_parameter(value, "prior") for value in prior)
    pairs_U2, place = torch.unique(
        torch.stack([successes_.flatten(), trials_.flatten()], dim=1), dim=0, return_inverse=True
    )
    alpha_U, beta_U = prior_alpha + pairs_U2[:, 0], prior_beta + pairs_U2[:, 1] - pairs_U2[:, 0]
    if eta == 0 or math.isinf(eta):
        rewards_U = _limit(alpha_U, beta_U, eta)
    else:
        log_p_UG, _, weight_UG = beta_grid(alpha_U, beta_U)
        rewards_U = (weight_UG * binary_reward(log_p_UG.exp(), eta)).sum(dim=1)
    return rewards_U[place].view(successes_.shape)


def belief_reward(alpha: Numbers, beta: Numbers, eta: Eta) -> Tensor:
    """Compute the entropy-regularized value of an uncertain success rate: ``(1/eta) ln E[exp(eta p)]``, p ~ Beta.

    The expectation is Kummer's function ``1F1(alpha; alpha + beta; eta)``.

    Args:
        alpha: first parameters of the beliefs, above 0, any shape.
        beta: second parameters, a shape that broadcasts with it.
        eta: as in :func:`erprm.rewards.entropy_regularized_reward`; 0 gives the mean of p, ``inf`` 1, ``-inf`` 0.

    Returns:
        Values in [0, 1], float64, the broadcast shape; they rise with eta.

    Raises:
        ValueError: if a parameter is not above 0 and finite, or ``eta`` is not valid.

    Example:
        >>> belief_reward([1.0, 10.0], [1.0, 10.0], eta=-4.0)  # the same mean, less certain and more certain
        tensor([0.3512, 0.4763], dtype=torch.float64)
    """
    eta = read_eta(eta)
    alpha_, beta_ = torch.broadcast_tensors(_checked_parameter(alpha, "alpha"), _checked_parameter(beta, "beta"))
    if abs(eta) < ETA_OF_THE_MEAN or math.isinf(eta):
        return _limit(alpha_, beta_, eta)
    if abs(eta) <= 1:
        value = _small_kummer_minus_1(alpha_, beta_, eta).log1p() / eta
    elif eta > 0:
        value = _log_kummer(alpha_, beta_, eta) / eta
    else:
        # Kummer's transformation, under which all terms are positive: failures of one are successes of the other.
        value = 1 + _log_kummer(beta_, alpha_, -eta) / eta
    return value.clamp(0, 1)


def _limit(alpha: Tensor, beta: Tensor, eta: float) -> Tensor:
    if math.isinf(eta):
        return torch.full_like(alpha, float(eta > 0))
    return alpha / (alpha + beta)


def beta_grid(alpha_U: Tensor, beta_U: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Success rates and weights with which sums are means under Beta distributions, by the trapezoidal rule.

    The logit of p has the mean and variance below and exponential tails. With ``logit = mean + spread * sinh(t)`` the
    integrand falls off doubly exponentially in t, for which this rule is exact to rounding.

    Returns:
        ``ln p``, rising, ``ln(1 - p)``, and weights that sum to 1, ``[U, G]`` each.
    """
    centre_U = torch.digamma(alpha_U) - torch.digamma(beta_U)
    spread_U = (torch.polygamma(1, alpha_U) + torch.polygamma(1, beta_U)).sqrt()
    # The slower tail falls like exp(-min(alpha, beta) |logit|).
    reach_U = _NEGLIGIBLE / (torch.minimum(alpha_U, beta_U) * spread_U).clamp(max=1.0)
    t_UG = torch.linspace(-1, 1, _GRID, dtype=torch.float64) * torch.asinh(reach_U)[:, None]
    logit_UG = centre_U[:, None] + spread_U[:, None] * torch.sinh(t_UG)
    log_p_UG, log_q_UG = torch.nn.functional.logsigmoid(logit_UG), torch.nn.functional.logsigmoid(-logit_UG)
    log_weight_UG = alpha_U[:, None] * log_p_UG + beta_U[:, None] * log_q_UG + torch.cosh(t_UG).log()
    return log_p_UG, log_q_UG, log_weight_UG.softmax(dim=1)


def _small_kummer_minus_1(alpha: Tensor, beta: Tensor, eta: float) -> Tensor:
    """``1F1(alpha; alpha + beta; eta) - 1`` for eta in [-1, 1], exact to rounding however small it is."""
    term = alpha / (alpha + beta) * eta
    total = term.clone()
    for n in range(1, 25):  # 1 / 25! is less than float64 resolves
        term = term * (alpha + n) / (alpha + beta + n) * (eta / (n + 1))
        total += term
    return total


def _log_kummer(alpha: Tensor, beta: Tensor, eta: float) -> Tensor:
    """``ln 1F1(alpha; alpha + beta; eta)`` for eta > 0: the series, or where it converges, the one in 1 / eta."""
    result = torch.empty_like(alpha)
    is_far = (beta + 8) * ((alpha - 1).abs() + 8) < eta / 4
    result[is_far] = _far_log_kummer(alpha[is_far], beta[is_far], eta)
    near = ~is_far
    result[near] = _log_kummer_series(alpha[near], beta[near], eta)
    return result


def _log_kummer_series(alpha: Tensor, beta: Tensor, eta: float) -> Tensor:
    log_term = torch.zeros_like(alpha)
    log_total = torch.zeros_like(alpha)
    n = 0
    # Terms rise while n is small; from the largest on they fall ever faster.
    while alpha.numel():
        log_ratio = ((alpha + n) / (alpha + beta + n) * (eta / (n + 1))).log()
        log_term = log_term + log_ratio
        log_total = torch.logaddexp(log_total, log_term)
        n += 1
        if bool(((log_ratio < 0) & (log_term < log_total - _NEGLIGIBLE)).all()):
            break
    return log_total


def _far_log_kummer(alpha: Tensor, beta: Tensor, eta: float) -> Tensor:
    """The asymptotic series for large eta (Abramowitz and Stegun, 13.1.4)."""
    term = torch.ones_like(alpha)
    total = torch.ones_like(alpha)
    for k in range(32):
        term = term * (beta + k) * (1 - alpha + k) / ((k + 1) * eta)
        total += term
        if bool((term.abs() < 1e-17).all()):
            break
    gammas = torch.lgamma(alpha + beta) - torch.lgamma(alpha)
    return gammas + eta - beta * math.log(eta) + total.log()


def log_beta(alpha: Tensor, beta: Tensor) -> Tensor:
    """The logarithm of the beta function, element by element."""
    return torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)


def _checked_counts(successes: Numbers, trials: Numbers) -> tuple[Tensor, Tensor]:
    """The counts as float64, or an error that names the first one that is none."""
    right, total = as_tensor(successes, "successes").double(), as_tensor(trials, "trials").double()
    if right.shape != total.shape:
        raise ValueError(f"successes have the shape {list(right.shape)}, trials {list(total.shape)}; they must agree")
    for name, counts in (("successes", right), ("trials", total)):
        # Written so that NaN counts as none.
        wrong = ~((counts >= 0) & (counts == counts.round()) & counts.isfinite())
        if wrong.any():
            index = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"{name} must be whole numbers from 0 on, got {counts[tuple(index)].item()} at index {index}"
            )
    if (right > total).any():
        index = (right > total).nonzero()[0].tolist()
        at = tuple(index)
        raise ValueError(f"{right[at].item():.0f} successes of {total[at].item():.0f} trials at index {index}")
    return right, total


def _checked_parameter(values: Numbers | float, name: str) -> Tensor:
    parameter = torch.as_tensor(values, dtype=torch.float64) if isinstance(values, float) else as_tensor(values, name)
    parameter = parameter.detach().double()
    wrong = ~((parameter > 0) & parameter.isfinite())
    if wrong.any():
        index = wrong.nonzero()[0].tolist()
        raise ValueError(f"{name} must be above 0 and finite, got {parameter[tuple(index)].item()} at index {index}")
    return parameter
