"""Quality of scores as probabilities, before and after a calibration that is fitted on other problems.

Shape suffixes: S steps, P problems, B bootstrap samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from erprm.metrics.estimate import Estimate
from erprm.metrics.functional.calibration_map import EDGE, CalibrationMethod, fit_calibration
from erprm.metrics.functional.resampling import percentile_interval, resampled_means
from erprm.metrics.functional.step_scores import check_not_empty, check_problems, check_shares, check_step_scores
from erprm.tensors import Numbers, as_tensor

_BINS = 15


@dataclass(frozen=True)
class CalibrationQuality:
    """Losses of scores as probabilities; lower is better.

    Attributes:
        log_loss: cross-entropy against the labels, in nats, mean over steps. Against soft labels it is not 0 at best.
        brier: squared difference to the labels, mean over steps.
        calibration_error: see :func:`erprm.metrics.step_calibration_error`. Resampling adds noise to every bin, so its
            interval leans upwards.
    """

    log_loss: Estimate
    brier: Estimate
    calibration_error: Estimate


@dataclass(frozen=True)
class CalibrationGain:
    """Quality of scores before and after a calibration, and the difference; 95% intervals over problems.

    Attributes:
        before: of the scores.
        after: of the calibrated scores.
        change: after minus before, on the same bootstrap samples: below 0 where calibration helps.
    """

    before: CalibrationQuality
    after: CalibrationQuality
    change: CalibrationQuality


def cross_fitted_calibration(
    scores_S: Numbers,
    labels_S: Numbers,
    problems_S: Numbers,
    method: CalibrationMethod = "beta",
    folds: int = 5,
    seed: int = 0,
) -> Tensor:
    """Calibrated scores, each by a map that was fitted to the steps of other problems.

    Args:
        scores_S: step scores in [0, 1], shape [S].
        labels_S: labels in [0, 1], shape [S].
        problems_S: integer id of each step's problem, shape [S].
        method: see :func:`erprm.metrics.fit_calibration`.
        folds: parts of the problems, of sizes that differ by at most one.
        seed: of the parts.

    Returns:
        Shape [S], float64.

    Raises:
        ValueError: as :func:`erprm.metrics.fit_calibration`, or if there are fewer than two folds or fewer problems
            than folds.

    Example:
        Each problem is calibrated by the other one; the values of an isotonic map stay away from 0 and 1.

        >>> cross_fitted_calibration([0.2, 0.8, 0.2, 0.8], [0.0, 0.5, 0.5, 1.0], [0, 0, 1, 1], "isotonic", folds=2)
        tensor([0.5000, 0.7500, 0.2500, 0.5000], dtype=torch.float64)
    """
    scores_S, labels_S, problem_S = _checked(scores_S, labels_S, problems_S)
    problems = int(problem_S.max()) + 1
    if not 2 <= folds <= problems:
        raise ValueError(f"folds is {folds}; it must be at least 2, and at most {problems}, the number of problems")
    order_P = torch.randperm(problems, generator=torch.Generator().manual_seed(seed)).to(problem_S.device)
    fold_S = (order_P % folds)[problem_S]
    calibrated_S = torch.empty_like(scores_S)
    for fold in range(folds):
        is_held_out_S = fold_S == fold
        fitted = fit_calibration(scores_S[~is_held_out_S], labels_S[~is_held_out_S], method)
        calibrated_S[is_held_out_S] = fitted(scores_S[is_held_out_S])
    return calibrated_S


def calibration_gain(
    scores_S: Numbers, calibrated_S: Numbers, labels_S: Numbers, problems_S: Numbers
) -> CalibrationGain:
    """The quality of scores and of calibrated scores.

    Args:
        scores_S: step scores in [0, 1], shape [S].
        calibrated_S: the same steps' calibrated scores, such as those of :func:`cross_fitted_calibration`, shape [S].
        labels_S: labels in [0, 1], shape [S].
        problems_S: integer id of each step's problem, shape [S].

    Raises:
        ValueError: for mismatched shapes, no steps, or a score or label outside [0, 1].
    """
    scores_S, labels_S, problem_S = _checked(scores_S, labels_S, problems_S)
    calibrated_S, _, _ = _checked(calibrated_S, labels_S, problems_S)
    means, samples = [], []
    for values_S in (scores_S, calibrated_S):
        sums_P = _sums(values_S, labels_S, problem_S)
        means.append(_losses(sums_P.mean(0)))
        samples.append(_losses(resampled_means(sums_P)))
    before, after = (_quality(mean, sample_B) for mean, sample_B in zip(means, samples, strict=True))
    return CalibrationGain(before, after, _quality(means[1] - means[0], samples[1] - samples[0]))


def _checked(scores_S: Numbers, labels_S: Numbers, problems_S: Numbers) -> tuple[Tensor, Tensor, Tensor]:
    """Float64 scores and labels, and problems numbered from 0."""
    scores_S, labels_S = as_tensor(scores_S, "scores_S").double(), as_tensor(labels_S, "labels_S").double()
    problems_S = as_tensor(problems_S, "problems_S")
    check_not_empty(scores_S)
    check_step_scores(scores_S, labels_S)
    check_problems(problems_S, scores_S)
    check_shares("scores_S", scores_S)
    return scores_S, labels_S, problems_S.unique(return_inverse=True)[1]


def _sums(scores_S: Tensor, labels_S: Tensor, problem_S: Tensor) -> Tensor:
    """Of each problem the number of steps, two losses, and score minus label in each bin; [P, 3 + bins]."""
    log_loss_S = binary_cross_entropy(scores_S.clamp(EDGE, 1 - EDGE), labels_S, reduction="none")
    difference_S = scores_S - labels_S
    bin_S = (scores_S * _BINS).long().clamp(max=_BINS - 1)
    in_bins = torch.zeros(len(scores_S), _BINS, dtype=torch.float64, device=scores_S.device)
    in_bins.scatter_(1, bin_S[:, None], difference_S[:, None])
    columns = torch.cat(
        [torch.stack([torch.ones_like(scores_S), log_loss_S, difference_S.square()], dim=1), in_bins], dim=1
    )
    sums_P = torch.zeros(int(problem_S.max()) + 1, columns.shape[1], dtype=torch.float64, device=scores_S.device)
    return sums_P.index_add_(0, problem_S, columns)


def _losses(sums: Tensor) -> Tensor:
    """Log loss, Brier score and calibration error of sums ``[..., 3 + bins]``."""
    steps, losses, in_bins = sums[..., :1], sums[..., 1:3], sums[..., 3:]
    return torch.cat([losses, in_bins.abs().sum(-1, keepdim=True)], dim=-1) / steps


def _quality(mean: Tensor, sample_B: Tensor) -> CalibrationQuality:
    numbers = torch.stack([mean, *percentile_interval(sample_B)], dim=1)
    return CalibrationQuality(*(Estimate(*row) for row in numbers.tolist()))
