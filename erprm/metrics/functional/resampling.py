"""Bootstrap intervals and paired permutation tests over problems, intervals over seeds and problems, and over worlds.

Problems are the independent units of an evaluation; candidates of one problem are not. So whole problems are resampled,
each with its already averaged value.

If two methods were equally good on every problem, which of the two has which value would be a coin toss, so the sign of
each problem's difference could as well be the other one. The p-value is the share of such sign patterns whose mean
difference is at least as far from 0 as the one found (Fisher 1935, section 21).

A model trained with another seed is another model, and an evaluation on other problems comes out otherwise. Both are a
sample: seeds and problems are crossed, each model answering each problem.

Shape suffixes: P problems, B resamples, R sign patterns, S seeds, W repetitions, C columns; the values may have further
columns (such as one for each n).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from erprm.tensors import Numbers, as_tensor

_CHUNK = 1000
# Values that are equal but for rounding differ by less; accuracies of a thousand candidates that are not, by more.
ROUNDING = 1e-12


def bootstrap_interval(
    values_P: Numbers, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Percentile bootstrap interval of the mean over problems (Efron and Tibshirani 1993, chapter 13).

    Percentile intervals are somewhat too narrow for few problems, and of no width where all values are equal.

    Args:
        values_P: one value for each problem, shape [P], or several columns of them, shape [P, n]. All columns are
            resampled together.
        level: coverage of the interval, between 0 and 1.
        n_resamples: number of bootstrap samples.
        seed: seed of the resampling; the same seed and P give the same resamples.

    Returns:
        Lower and upper end, float64, each of shape [] or [n].

    Raises:
        ValueError: for no values, a shape of more than two axes, a NaN, a level outside (0, 1), or n_resamples < 1.

    Example:
        >>> low, high = bootstrap_interval(torch.tensor([0.0] * 50 + [1.0] * 50))
        >>> bool(low < 0.5 < high)
        True
    """
    values_P = as_tensor(values_P, "values_P")
    return percentile_interval(resampled_means(values_P, n_resamples, seed), level)


def resampled_means(values_P: Tensor, n_resamples: int = 2000, seed: int = 0) -> Tensor:
    """Means over problems of bootstrap samples of them, for a statistic made of several means.

    Args:
        values_P: one value for each problem, shape [P] or [P, n]. All columns are resampled together.
        n_resamples: number of bootstrap samples, B.
        seed: seed of the resampling; the same seed and P give the same resamples.

    Returns:
        Float64, shape [B] or [B, n].

    Raises:
        ValueError: for no values, a shape of more than two axes, a NaN, or n_resamples < 1.
    """
    if values_P.ndim not in (1, 2) or values_P.numel() == 0:
        raise ValueError(f"values_P must have shape [P] or [P, n] and not be empty, found {list(values_P.shape)}")
    missing = values_P.isnan().nonzero()
    if len(missing):
        raise ValueError(f"values_P{missing[0].tolist()} is NaN (a curve is NaN where n exceeds a problem's pool)")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, found {n_resamples}")

    n_problems = len(values_P)
    generator = torch.Generator().manual_seed(seed)
    drawn_BP = torch.randint(n_problems, (n_resamples, n_problems), generator=generator)
    times_drawn_BP = torch.zeros(n_resamples, n_problems, dtype=torch.float64)
    times_drawn_BP.scatter_add_(1, drawn_BP, torch.ones_like(times_drawn_BP))
    return times_drawn_BP.to(values_P.device) @ values_P.double() / n_problems


def percentile_interval(statistic_B: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Lower and upper end of the middle ``level`` of bootstrap values, which may have further columns.

    A value that is NaN, because its sample left the statistic undefined, does not count.

    Raises:
        ValueError: for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}")
    tail = (1 - level) / 2
    return statistic_B.nanquantile(tail, dim=0), statistic_B.nanquantile(1 - tail, dim=0)


def paired_bootstrap_interval(
    values_P: Numbers, baseline_P: Numbers, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Percentile bootstrap interval of the mean difference of two methods on the same problems.

    Args:
        values_P: one value for each problem, shape [P] or [P, n].
        baseline_P: the other method's values on the same problems in the same order, of the same shape.
        level: coverage of the interval, between 0 and 1.
        n_resamples: number of bootstrap samples.
        seed: seed of the resampling.

    Returns:
        Lower and upper end of ``values - baseline``, float64, each of shape [] or [n].

    Raises:
        ValueError: for different shapes, or as :func:`bootstrap_interval`.

    Example:
        A constant gain is certain, however much the problems differ.

        >>> baseline = torch.tensor([0.0, 0.25, 0.5])
        >>> paired_bootstrap_interval(baseline + 0.5, baseline)
        (tensor(0.5000, dtype=torch.float64), tensor(0.5000, dtype=torch.float64))
    """
    values_P = as_tensor(values_P, "values_P")
    baseline_P = as_tensor(baseline_P, "baseline_P")
    if values_P.shape != baseline_P.shape:
        raise ValueError(f"baseline_P must have shape {list(values_P.shape)}, found {list(baseline_P.shape)}")
    return bootstrap_interval(values_P.double() - baseline_P.double(), level, n_resamples, seed)


def paired_permutation_test(
    values_P: Numbers, baseline_P: Numbers, n_permutations: int = 10_000, seed: int = 0
) -> Tensor:
    """Two-sided p-value of the mean difference of two methods on the same problems.

    Exact if there are no more than ``n_permutations`` sign patterns, which is 2^P; else ``(1 + c) / (1 + R)``, where c
    of the R random patterns are as extreme (Phipson and Smyth 2010, arXiv 1603.05766), which is never 0. Differences
    of less than 1e-12 are rounding and count as none.

    Args:
        values_P: one value for each problem, shape [P] or [P, n].
        baseline_P: the other method's values on the same problems in the same order, of the same shape.
        n_permutations: number of random sign patterns.
        seed: seed of the patterns.

    Returns:
        p-values in (0, 1], float64, shape [] or [n].

    Raises:
        ValueError: for different shapes, no problems, a NaN, or n_permutations < 1.

    Example:
        Three gains in a row: as extreme are only +++ and ---, of eight patterns.

        >>> paired_permutation_test(torch.ones(3), torch.zeros(3))
        tensor(0.2500, dtype=torch.float64)
    """
    values_P = as_tensor(values_P, "values_P")
    baseline_P = as_tensor(baseline_P, "baseline_P")
    if values_P.shape != baseline_P.shape:
        raise ValueError(f"baseline_P must have shape {list(values_P.shape)}, found {list(baseline_P.shape)}")
    if values_P.ndim not in (1, 2) or values_P.numel() == 0:
        raise ValueError(f"values_P must have shape [P] or [P, n] and not be empty, found {list(values_P.shape)}")
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1, found {n_permutations}")
    differences_P = without_rounding(values_P.double() - baseline_P.double())
    missing = differences_P.isnan().nonzero()
    if len(missing):
        raise ValueError(f"values_P - baseline_P is NaN at {missing[0].tolist()}")

    # Sums that are equal but for rounding count as equal.
    observed = differences_P.sum(dim=0).abs() * (1 - 1e-9)
    n_problems = len(differences_P)
    if n_problems < 63 and 2**n_problems <= n_permutations:
        pattern_R = torch.arange(2**n_problems)
        bits_RP = pattern_R[:, None] >> torch.arange(n_problems) & 1
        return _as_extreme(bits_RP, differences_P, observed) / len(pattern_R)
    generator = torch.Generator().manual_seed(seed)
    as_extreme = torch.zeros_like(observed)
    for start in range(0, n_permutations, _CHUNK):
        shape = (min(_CHUNK, n_permutations - start), n_problems)
        as_extreme += _as_extreme(torch.randint(2, shape, generator=generator), differences_P, observed)
    return (1 + as_extreme) / (1 + n_permutations)


def without_rounding(differences: Tensor) -> Tensor:
    """Differences of two computed values, 0 where they are rounding."""
    return differences.masked_fill(differences.abs() < ROUNDING, 0.0)


def _as_extreme(bits_RP: Tensor, differences_P: Tensor, observed: Tensor) -> Tensor:
    """Number of sign patterns, given by bits, whose sum is at least the observed absolute value."""
    sums_R = (1 - 2 * bits_RP.to(differences_P)) @ differences_P
    return (sums_R.abs() >= observed).sum(dim=0).double()


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


def student_t_interval(values_W: Numbers, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Interval of the mean of independent repetitions of a whole experiment, from one number of each.

    Student's t: whatever differs between the repetitions is in the interval. To compare two methods, their differences
    within each repetition.

    Args:
        values_W: value of each repetition, shape [W] or [W, C].
        level: coverage, between 0 and 1.

    Returns:
        Lower and upper end, float64, each of shape [] or [C]; not cut off at the bounds of an accuracy.

    Raises:
        ValueError: for another shape, fewer than two repetitions, a NaN, or a level outside (0, 1).

    Example:
        >>> low, high = student_t_interval([0.0, 1.0])  # a standard error of 0.5, t of one degree of freedom
        >>> round(low.item(), 2), round(high.item(), 2)
        (-5.85, 6.85)
    """
    values_W = as_tensor(values_W, "values_W").double()
    if values_W.ndim not in (1, 2) or len(values_W) < 2:
        raise ValueError(f"values_W must have shape [W] or [W, C], W at least 2, found {list(values_W.shape)}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, found {level}")
    if values_W.isnan().any():
        raise ValueError(f"values_W{values_W.isnan().nonzero()[0].tolist()} is NaN")
    mean, number = values_W.mean(0), len(values_W)
    half = student_t_quantile((1 + level) / 2, number - 1) * values_W.std(0) / math.sqrt(number)
    return mean - half, mean + half


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
