"""The entropy-regularized process reward, its standard error and its bias correction.

From the K completions that the policy gave to one step prefix, with outcome rewards r_1 .. r_K in [0, 1], the reward
of that prefix is (equation 2 of arXiv 2412.11006, the expectation replaced by the mean of the sample)::

    R_eta = (1 / eta) * ln( (1 / K) * sum_k exp(eta * r_k) )

One family with one knob: ``eta = -inf`` is the minimum, ``0`` the mean, ``+inf`` the maximum, and R rises with eta.

For example, two successes in four completions, ``[1, 0, 1, 0]``::

    eta        -inf     -2       0       2      +inf
    R_eta       0     0.283    0.5    0.717      1

Every function here takes rewards as a tensor ``[..., K]``, computes in float64 and returns the dtype of the rewards
(float32 for integers and booleans), on their device. None of them is differentiable: labels are data.
"""

import math

import torch
from torch import Tensor

from erprm.eta import Eta, read_eta
from erprm.tensors import Numbers, as_tensor

# R_eta is the mean plus at most |eta| / 8 (eta times half the variance, itself at most 1/4). Below this eta that is
# less than float64 resolves, and products with eta would soon leave its normal range.
ETA_OF_THE_MEAN = 2.0**-60


def entropy_regularized_reward(rewards: Numbers, eta: Eta) -> Tensor:
    """Compute the entropy-regularized reward of step prefixes from their completions (arXiv 2412.11006, eq. 2).

    Args:
        rewards: outcome rewards in [0, 1], shape ``[..., K]``, K >= 1 completions of each prefix.
        eta: the knob of the family, as :func:`erprm.eta.read_eta` reads it: 0 is the mean over K, ``inf`` the
            maximum, ``-inf`` the minimum.

    Returns:
        Rewards, shape ``[...]``; each between the minimum and the maximum of its K rewards, and not falling in eta or
        in any of the K (to the rounding of float64).

    Raises:
        TypeError: if ``rewards`` is not a tensor of real numbers or ``eta`` is neither a number nor a text.
        ValueError: if a reward is NaN or outside [0, 1], K is 0, or ``eta`` is NaN or an unknown text.

    Example:
        >>> import torch
        >>> rewards = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
        >>> entropy_regularized_reward(rewards, eta=0.0)
        tensor([0.5000, 0.2500])
        >>> entropy_regularized_reward(rewards, eta=2.0)
        tensor([0.7169, 0.4772])
        >>> entropy_regularized_reward(rewards, eta=float("inf"))
        tensor([1., 1.])
    """
    rewards = as_tensor(rewards, "rewards")
    eta = read_eta(eta)
    return _log_mean_exp(_checked_rewards(rewards), eta).to(_result_dtype(rewards))


def reward_standard_error(rewards: Numbers, eta: Eta) -> Tensor:
    """Estimate the standard error of :func:`entropy_regularized_reward` by the delta method.

    With y = exp(eta * r) it is ``sd(y) / (sqrt(K) * |eta| * mean(y))``, where sd has the divisor K - 1; at eta = 0 it
    is the standard error of the mean, ``sd(r) / sqrt(K)``.

    K equal rewards give 0, although they do not make the estimate certain. K = 1 gives NaN. So does an infinite eta:
    the minimum and the maximum are no smooth functions of a mean, so the delta method has nothing to say there.

    Args:
        rewards: outcome rewards in [0, 1], shape ``[..., K]``.
        eta: as in :func:`entropy_regularized_reward`.

    Returns:
        Standard errors in units of the reward, shape ``[...]``.

    Raises:
        TypeError: as :func:`entropy_regularized_reward`.
        ValueError: as :func:`entropy_regularized_reward`.
    """
    rewards = as_tensor(rewards, "rewards")
    eta = read_eta(eta)
    rewards_K = _checked_rewards(rewards)
    K = rewards_K.shape[-1]
    if K == 1 or math.isinf(eta):
        error = torch.full_like(rewards_K[..., 0], math.nan)
    elif abs(eta) < ETA_OF_THE_MEAN:
        error = rewards_K.std(dim=-1) / math.sqrt(K)
    else:
        # The anchor scales y and its standard deviation alike, so it drops out of their ratio.
        anchor = rewards_K.amax(dim=-1) if eta > 0 else rewards_K.amin(dim=-1)
        y_minus_1_K = _anchored_expm1(rewards_K, anchor, eta)
        error = y_minus_1_K.std(dim=-1) / (math.sqrt(K) * abs(eta) * (1 + y_minus_1_K.mean(dim=-1)))
    return error.to(_result_dtype(rewards))


def jackknife_reward(rewards: Numbers, eta: Eta) -> Tensor:
    """Estimate the entropy-regularized reward with the first-order bias of the plain estimate removed.

    The logarithm of a mean of K samples is biased by an amount of order 1 / K: down for eta > 0, up for eta < 0. The
    jackknife cancels that order: ``K * R - (K - 1) * mean_i R_without_i``, where ``R_without_i`` is
    the plain estimate from the other K - 1 completions. At eta = 0 nothing is biased and this is the mean.

    The result may leave [0, 1] and is not clipped, since clipping would bring a bias back; clip it
    (``.clamp(0, 1)``) before using it as a label. Where |eta| is large and K samples often hold no success (eta > 0) or
    no failure (eta < 0), its spread grows so much that it is the worse estimate; docs/method.md has exact numbers.

    Args:
        rewards: outcome rewards in [0, 1], shape ``[..., K]``, K >= 2.
        eta: as in :func:`entropy_regularized_reward`.

    Returns:
        Corrected rewards, shape ``[...]``.

    Raises:
        TypeError: as :func:`entropy_regularized_reward`.
        ValueError: as :func:`entropy_regularized_reward`, and if K is 1.
    """
    rewards = as_tensor(rewards, "rewards")
    eta = read_eta(eta)
    rewards_K = _checked_rewards(rewards)
    K = rewards_K.shape[-1]
    if K == 1:
        raise ValueError("the jackknife needs at least 2 completions a prefix: rewards has K = 1 in its last dimension")

    plain = _log_mean_exp(rewards_K, eta)
    if abs(eta) < ETA_OF_THE_MEAN:
        return plain.to(_result_dtype(rewards))

    # While the extreme reward stays in, it anchors the exponentials; without it the others need an anchor of their own.
    anchor, extreme = rewards_K.max(dim=-1) if eta > 0 else rewards_K.min(dim=-1)
    is_other_K = torch.ones_like(rewards_K, dtype=torch.bool).scatter_(-1, extreme.unsqueeze(-1), value=False)
    others = rewards_K[is_other_K].view(*rewards_K.shape[:-1], K - 1)
    without_extreme = _log_mean_exp(others, eta)
    sum_without_other = (K - 1) * anchor
    if math.isfinite(eta):
        y_minus_1 = _anchored_expm1(others, anchor, eta)
        mean_without_other = (y_minus_1.sum(dim=-1, keepdim=True) - y_minus_1) / (K - 1)
        sum_without_other = sum_without_other + mean_without_other.log1p().sum(dim=-1) / eta
    corrected = K * plain - (K - 1) * (sum_without_other + without_extreme) / K
    return corrected.to(_result_dtype(rewards))


def binary_reward(p: Numbers, eta: Eta) -> Tensor:
    """Compute the entropy-regularized reward of a known success rate: ``ln(1 - p + p * e^eta) / eta``.

    This is what :func:`entropy_regularized_reward` tends to when rewards are 0 or 1, a share p of them 1, and K grows.

    Args:
        p: probabilities of success, any shape.
        eta: as in :func:`entropy_regularized_reward`; 0 gives p itself, ``inf`` 1 where p > 0, ``-inf`` 1 where p = 1.

    Returns:
        Rewards in [0, 1], the shape of ``p``.

    Raises:
        TypeError: if ``p`` is not a tensor of real numbers or ``eta`` is neither a number nor a text.
        ValueError: if a probability is NaN or outside [0, 1], or ``eta`` is NaN or an unknown text.

    Example:
        >>> import torch
        >>> binary_reward(torch.tensor([0.0, 0.5, 1.0]), eta=2.0)
        tensor([0.0000, 0.7169, 1.0000])
    """
    p = as_tensor(p, "p")
    eta = read_eta(eta)
    probability = _in_unit_interval(p, name="p")
    if eta == math.inf:
        value = (probability > 0).double()
    elif eta == -math.inf:
        value = (probability == 1).double()
    elif abs(eta) < ETA_OF_THE_MEAN:
        value = probability
    elif abs(eta) <= 1:
        value = (probability * math.expm1(eta)).log1p() / eta
    else:
        value = torch.logaddexp((-probability).log1p(), probability.log() + eta) / eta
    return value.clamp(0, 1).to(_result_dtype(p))


def _log_mean_exp(rewards_K: Tensor, eta: float) -> Tensor:
    """``ln(mean(exp(eta * r))) / eta`` over the last dimension of a float64 tensor, with its limits at 0 and +-inf."""
    lowest, highest = torch.aminmax(rewards_K, dim=-1)
    if math.isinf(eta):
        return highest if eta > 0 else lowest
    if abs(eta) < ETA_OF_THE_MEAN:
        value = rewards_K.mean(dim=-1)
    else:
        anchor = highest if eta > 0 else lowest
        value = anchor + _anchored_expm1(rewards_K, anchor, eta).mean(dim=-1).log1p() / eta
    return value.clamp(lowest, highest)


def _anchored_expm1(rewards_K: Tensor, anchor: Tensor, eta: float) -> Tensor:
    """``exp(eta * (r - anchor)) - 1``: in [-1, 0] for every eta, and exact to rounding where eta is tiny."""
    return (rewards_K - anchor.unsqueeze(-1)).mul_(eta).expm1_()


def _checked_rewards(rewards: object) -> Tensor:
    """The rewards as float64 ``[..., K]``, K >= 1, or an error that names what is wrong."""
    rewards_K = _in_unit_interval(rewards, name="rewards")
    if rewards_K.dim() == 0 or rewards_K.shape[-1] == 0:
        raise ValueError(
            f"rewards must have at least one completion in its last dimension, got the shape {list(rewards_K.shape)}"
        )
    return rewards_K


def _in_unit_interval(values: object, name: str) -> Tensor:
    """The values as float64, or an error that names the first one that is not in [0, 1]."""
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(values).__name__}")
    if values.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {values.dtype}")
    exact = values.detach().double()
    # Written so that NaN counts as outside.
    outside = ~((exact >= 0) & (exact <= 1))
    if outside.any():
        index = outside.nonzero()[0].tolist()
        raise ValueError(f"{name} must lie in [0, 1], got {exact[tuple(index)].item()} at index {index}")
    return exact


def _result_dtype(values: Tensor) -> torch.dtype:
    return values.dtype if values.is_floating_point() else torch.float32
