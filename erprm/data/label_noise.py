"""The most that a reward model can learn from sampled labels: how much of their spread is signal.

The label of a step is an average over K sampled completions, so steps of equal worth get different labels by chance.
The share of each step's completions that is right is taken to be binomial, and the success probabilities p of the steps
to follow a beta distribution, fitted by its first two moments.

Shape suffixes: G grid points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# (completions, how many of them are right) of a step -> how many steps have these.
Outcomes = Mapping[tuple[int, int], int]

_GRID = 4001


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
    sizes = {int(size): float(steps[k == size].sum() / total) for size in np.unique(k)}
    return LabelNoise(
        steps=int(total),
        disagreeing=int(steps[(right > 0) & (right < k)].sum()),
        signal=min(1.0, max(0.0, true_variance / variance)) if variance else math.nan,
        auroc_ceiling=_auroc_ceiling(mean, true_variance, sizes),
    )


def _auroc_ceiling(mean: float, variance: float, sizes: Mapping[int, float]) -> float:
    """AUROC of p against classes of sampled labels.

    Args:
        mean: of p.
        variance: of p.
        sizes: K -> share of the steps that have K completions.
    """
    most = mean * (1 - mean)
    if most <= 0:
        return math.nan
    if variance <= 0:
        return 0.5
    if variance >= most:
        return 1.0
    a, b = (share * (most / variance - 1) for share in (mean, 1 - mean))
    # p = sigmoid(x). Mass near 0 and 1 lies far out when a or b is small: x = sinh(t) reaches it with few points.
    end = math.asinh(40 / min(a, b, 1.0))
    t_G = np.linspace(-end, end, _GRID)
    log_p_G, log_q_G = -np.logaddexp(0, -np.sinh(t_G)), -np.logaddexp(0, np.sinh(t_G))
    log_density_G = a * log_p_G + b * log_q_G
    density_G = np.exp(log_density_G - log_density_G.max()) * np.cosh(t_G)
    is_right_G = sum(share * _at_least_half(k, log_p_G, log_q_G) for k, share in sizes.items())
    right_G, wrong_G = density_G * is_right_G, density_G * (1 - is_right_G)
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
