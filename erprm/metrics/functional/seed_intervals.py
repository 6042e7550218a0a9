"""Intervals of a mean over training seeds and problems.

A model trained with another seed is another model, and an evaluation on other problems comes out otherwise. Both are a
sample: seeds and problems are crossed, each model answering each problem.

Shape suffixes: S seeds, P problems, C columns (such as one for each n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from erprm.metrics.functional.resampling import bootstrap_interval
from erprm.tensors import Numbers, as_tensor

_MANY_DEGREES = 1000.0


def seeds_and_problems_interval(values_SPC: Numbers, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Interval of the mean over all seeds and all problems there could be.

    Of two or more seeds: Student's t about the mean, with the standard error of the two-way random effects model,
    ``(MS_seeds + MS_problems - MS_residual) / (S P)``, and Satterthwaite's degrees of freedom. A component of variance
    that comes out negative counts as zero. With few seeds that differ the t is large (4.3 at two degrees of freedom),
    as it must be: three models say little about all. A bootstrap over three seeds would not show this.

    Of one seed: :func:`erprm.metrics.functional.resampling.bootstrap_interval`, over problems alone. Nothing is then
    known of other seeds.

    Seeds stand for what they vary in a training. What all trainings share (rollouts, the base model, the pool) is not
    accounted for.

    Args:
        values_SPC: value of each problem with each seed's model, shape [S, P, C]. To compare two methods, their
            differences with the same seed on the same problem.
        level: coverage, between 0 and 1.

    Returns:
        Lower and upper end, float64, each of shape [C]; not cut off at the bounds of an accuracy.

    Raises:
        ValueError: for another shape, no values, a NaN, one problem with several seeds, or a level outside (0, 1).

    Example:
        >>> values = torch.tensor([[[0.0], [1.0]], [[0.0], [1.0]]])  # two models that agree on two problems
        >>> low, high = seeds_and_problems_interval(values)
        >>> round((high - low).item() / 2, 1)  # the standard error of two problems, 0.5, times t of one degree, 12.7
        6.4
    """
    values_SPC = as_tensor(values_SPC, "values_SPC")
    if values_SPC.ndim != 3 or values_SPC.numel() == 0:
        raise ValueError(f"values_SPC must have shape [S, P, C] and not be empty, found {list(values_SPC.shape)}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}")
    n_seeds, n_problems, _ = values_SPC.shape
    if n_seeds == 1:
        return bootstrap_interval(values_SPC[0], level)
    if n_problems == 1:
        raise ValueError("an interval over problems needs at least 2 of them, found 1")
    if values_SPC.isnan().any():
        raise ValueError(f"values_SPC{values_SPC.isnan().nonzero()[0].tolist()} is NaN")

    values_SPC = values_SPC.double()
    mean_C, seeds_SC, problems_PC = values_SPC.mean((0, 1)), values_SPC.mean(1), values_SPC.mean(0)
    residual_SPC = values_SPC - seeds_SC[:, None] - problems_PC + mean_C
    degrees = (n_seeds - 1.0, n_problems - 1.0, (n_seeds - 1.0) * (n_problems - 1.0))
    mean_squares_C3 = torch.stack(
        [
            n_problems * (seeds_SC - mean_C).square().sum(0) / degrees[0],
            n_seeds * (problems_PC - mean_C).square().sum(0) / degrees[1],
            residual_SPC.square().sum((0, 1)) / degrees[2],
        ],
        dim=-1,
    )
    half_C = torch.tensor(
        [_half_width(mean_squares, degrees, n_seeds * n_problems, level) for mean_squares in mean_squares_C3.tolist()],
        dtype=torch.float64,
    )
    return mean_C - half_C, mean_C + half_C


def _half_width(
    mean_squares: Sequence[float],
    degrees: tuple[float, float, float],
    n_values: int,
    level: float,
) -> float:
    of_seeds, of_problems, of_residual = mean_squares
    if of_seeds <= of_residual:
        terms = [(of_problems, degrees[1])]
    elif of_problems <= of_residual:
        terms = [(of_seeds, degrees[0])]
    else:
        terms = list(zip((of_seeds, of_problems, -of_residual), degrees, strict=True))
    total = sum(term for term, _ in terms)
    if total <= 0:
        return 0.0
    satterthwaite = total**2 / sum(term**2 / degrees_of_term for term, degrees_of_term in terms)
    return student_t_quantile((1 + level) / 2, satterthwaite) * math.sqrt(total / n_values)


def student_t_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t, to about five digits.

    With t = sqrt(degrees) tan(angle) the density of the angle is proportional to cos(angle)^(degrees - 1), which is
    summed up numerically. Beyond 1,000 degrees of freedom those of 1,000 are taken.

    Args:
        probability: in [0.5, 1).
        degrees: degrees of freedom, a number of at least 1.

    >>> round(student_t_quantile(0.975, 2), 4)
    4.3027
    """
    degrees = min(degrees, _MANY_DEGREES)
    angles = np.linspace(0, math.pi / 2, 20_001)
    middles = (angles[1:] + angles[:-1]) / 2
    cumulated = np.concatenate([[0.0], np.cumsum(np.cos(middles) ** (degrees - 1))])
    angle = np.interp(2 * probability - 1, cumulated / cumulated[-1], angles)
    return math.sqrt(degrees) * math.tan(float(angle))
