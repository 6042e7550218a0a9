"""The most that a reward model can learn from sampled labels: how much of their spread is signal.

The label of a step is an average over K sampled completions, so steps of equal worth get different labels by chance.
The share of each step's completions that is right is taken to be binomial, and the success probabilities p of the steps
to follow a Beta distribution, fitted by maximum likelihood (:func:`erprm.rewards.fit_beta_prior`).

Shape suffixes: G grid points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from erprm.rewards import BetaPrior, fit_beta_prior
from erprm.rewards.beliefs import beta_grid

# (completions, how many of them are right) of a step -> how many steps have these.
Outcomes = Mapping[tuple[int, int], int]


class LabelNoise(NamedTuple):
    """Signal and noise of the labels of steps with at least two completions, each right or wrong.

    Attributes:
        steps: how many there are.
        disagreeing: how many have both right and wrong completions.
        signal: share of the variance of their soft labels that is not sampling noise, in [0, 1]: the highest R² that a
            model of the labels can reach. NaN if all labels are equal.
        auroc_ceiling: expected AUROC of a model that knows each step's p, against the soft labels made classes at 0.5,
            as in ``val/auroc``. NaN if p is 0 for all steps, or 1.
    """

    steps: int
    disagreeing: int
    signal: float
    auroc_ceiling: float


def label_noise(outcomes: Outcomes) -> LabelNoise | None:
    """Signal and noise of some steps; None if none of them has two completions.

    >>> noise = label_noise({(2, 0): 1, (2, 1): 1, (2, 2): 1})
    >>> noise.disagreeing, round(noise.signal, 3), round(noise.auroc_ceiling, 3)
    (1, 0.5, 0.875)
    """
    repeated = [(k, right, steps) for (k, right), steps in outcomes.items() if k > 1 and steps]
    if not repeated:
        return None
    k, right, steps = np.array(repeated, dtype=np.float64).T
    labels, total = right / k, steps.sum()
    mean = float(labels @ steps / total)
    variance = float((labels - mean) ** 2 @ steps / total)
    # Two completions of one step are right together with probability p²: the estimate has no bias at any K.
    true_variance = float(right * (right - 1) / (k * (k - 1)) @ steps / total) - mean**2
    auroc_ceiling = math.nan
    if 0 < mean < 1:
        sizes = {int(size): float(steps[k == size].sum() / total) for size in np.unique(k)}
        auroc_ceiling = _auroc_ceiling(fit_beta_prior(right, k, steps), sizes)
    return LabelNoise(
        steps=int(total),
        disagreeing=int(steps[(right > 0) & (right < k)].sum()),
        signal=min(1.0, max(0.0, true_variance / variance)) if variance else math.nan,
        auroc_ceiling=auroc_ceiling,
    )


def _auroc_ceiling(prior: BetaPrior, sizes: Mapping[int, float]) -> float:
    """AUROC of p against classes of sampled labels.

    Args:
        prior: the distribution of p.
        sizes: K -> share of the steps that have K completions.
    """
    alpha_1, beta_1 = torch.tensor(prior, dtype=torch.float64).split(1)
    log_p_G, log_q_G, weight_G = (values_1G[0].numpy() for values_1G in beta_grid(alpha_1, beta_1))
    is_right_G = sum(share * _at_least_half(k, log_p_G, log_q_G) for k, share in sizes.items())
    right_G, wrong_G = weight_G * is_right_G, weight_G * (1 - is_right_G)
    below_G = np.cumsum(wrong_G) - wrong_G / 2
    return float(right_G @ below_G / (right_G.sum() * wrong_G.sum()))


def _at_least_half(
    k: int, log_p_G: npt.NDArray[np.float64], log_q_G: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Probability that at least half of k completions are right."""
    total_G = np.zeros_like(log_p_G)
    for right in range(math.ceil(k / 2), k + 1):
        total_G += np.exp(math.log(math.comb(k, right)) + right * log_p_G + (k - right) * log_q_G)
    return np.minimum(total_G, 1.0)
