"""Agreement of step scores with step labels.

Labels are soft: numbers in [0, 1]. Where a metric needs two classes, a step is right if its label is at least 0.5, and
a score says so if it is at least the threshold. Accuracy, AUROC over all steps and correlations come from torchmetrics:
``BinaryAccuracy`` and ``BinaryAUROC`` on :func:`binarize_labels`, ``PearsonCorrCoef`` and ``SpearmanCorrCoef`` on the
soft labels.

Shape suffixes: S steps, M solutions, B calibration bins.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from erprm.metrics.functional.aggregation import solution_of_steps
from erprm.tensors import Numbers, as_tensor


def binarize_labels(labels_S: Numbers) -> Tensor:
    """Classes of soft labels: 1 (right) where the label is at least 0.5, else 0.

    Args:
        labels_S: numbers in [0, 1], shape [S].

    Returns:
        Integers, shape [S].

    Raises:
        ValueError: for a label outside [0, 1] or NaN.

    Example:
        >>> binarize_labels(torch.tensor([0.0, 0.25, 0.5]))
        tensor([0, 0, 1])
    """
    labels_S = as_tensor(labels_S, "labels_S")
    check_labels(labels_S)
    return (labels_S >= 0.5).long()


def within_problem_auroc(scores_S: Numbers, labels_S: Numbers, problems_S: Numbers) -> Tensor:
    """AUROC among the steps of one problem, averaged over problems.

    AUROC over all steps can be high from the difficulty of the question alone; this one cannot. Every problem that has
    both right and wrong steps counts equally, whatever its number of steps; other problems do not count. Tied scores
    count one half.

    Args:
        scores_S: step scores, higher means more likely right, shape [S].
        labels_S: soft labels in [0, 1], right from 0.5 on, shape [S].
        problems_S: integer id of each step's problem, shape [S].

    Returns:
        A float32 scalar; NaN if no problem has both right and wrong steps.

    Raises:
        ValueError: for mismatched shapes, no steps, a NaN score, or a label outside [0, 1].

    Example:
        Problem 0 is ordered perfectly, problem 1 is a tie, problem 2 has no wrong step.

        >>> scores = torch.tensor([0.9, 0.2, 0.4, 0.4, 0.1])
        >>> labels = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
        >>> within_problem_auroc(scores, labels, torch.tensor([0, 0, 1, 1, 2]))
        tensor(0.7500)
    """
    scores_S = as_tensor(scores_S, "scores_S")
    labels_S = as_tensor(labels_S, "labels_S")
    problems_S = as_tensor(problems_S, "problems_S")
    check_not_empty(scores_S)
    check_step_scores(scores_S, labels_S)
    check_problems(problems_S, scores_S)
    problem_S: Tensor = problems_S.unique(return_inverse=True)[1]
    order_S = scores_S.argsort(stable=True)
    order_S = order_S[problem_S[order_S].argsort(stable=True)]
    scores_S, problem_S = scores_S[order_S], problem_S[order_S]
    right_S = binarize_labels(labels_S[order_S])

    # The Mann-Whitney statistic, in integers: a right step beats the wrong steps ranked below it. Steps with tied
    # scores share the middle of their first and last rank, hence everything is counted twice.
    new_tie_S = torch.ones_like(right_S)
    new_tie_S[1:] = (scores_S[1:] != scores_S[:-1]) | (problem_S[1:] != problem_S[:-1])
    tie_S = new_tie_S.cumsum(dim=0) - 1
    tie_sizes = tie_S.bincount()
    tie_ends = tie_sizes.cumsum(dim=0)
    twice_rank_S = (2 * tie_ends - tie_sizes - 1)[tie_S]

    steps_P = problem_S.bincount()
    starts_P = steps_P.cumsum(dim=0) - steps_P
    right_P = torch.zeros_like(steps_P).scatter_add(0, problem_S, right_S)
    twice_ranks_P = torch.zeros_like(steps_P).scatter_add(
        0, problem_S, right_S * (twice_rank_S - 2 * starts_P[problem_S])
    )
    twice_wins_P = twice_ranks_P - right_P * (right_P - 1)
    twice_pairs_P = right_P * (steps_P - right_P) * 2
    return (twice_wins_P.float() / twice_pairs_P)[twice_pairs_P > 0].mean()


def step_calibration_error(scores_S: Numbers, labels_S: Numbers, n_bins: int = 15) -> Tensor:
    """Expected calibration error of step scores against soft labels.

    Scores are put into bins of equal width; the error is the difference between mean score and mean label of a bin,
    averaged over steps (Guo et al. 2017, arXiv 1706.04599, eq. 3, with the mean soft label for the accuracy).

    Args:
        scores_S: step scores in [0, 1], shape [S].
        labels_S: soft labels in [0, 1], shape [S].
        n_bins: number of bins.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for mismatched shapes, no steps, a score or label outside [0, 1] or NaN, or n_bins < 1.

    Example:
        >>> step_calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([0.5, 0.5]))
        tensor(0.2500)
    """
    scores_S = as_tensor(scores_S, "scores_S")
    labels_S = as_tensor(labels_S, "labels_S")
    check_not_empty(scores_S)
    return calibration_error(*calibration_sums(scores_S, labels_S, n_bins))


class CalibrationCurve(NamedTuple):
    """Scores against labels, in bins of equal width of the score.

    Attributes:
        steps_B: number of steps in each bin, shape [B].
        scores_B: their mean score, NaN for an empty bin, shape [B].
        labels_B: their mean label, NaN for an empty bin, shape [B].
    """

    steps_B: Tensor
    scores_B: Tensor
    labels_B: Tensor


def calibration_curve(scores_S: Numbers, labels_S: Numbers, n_bins: int = 15) -> CalibrationCurve:
    """Reliability diagram behind :func:`step_calibration_error`; its arguments and errors are the same.

    Example:
        >>> curve = calibration_curve(torch.tensor([0.25, 0.75]), torch.tensor([0.0, 1.0]), n_bins=2)
        >>> curve.labels_B
        tensor([0., 1.])
    """
    scores_S = as_tensor(scores_S, "scores_S")
    labels_S = as_tensor(labels_S, "labels_S")
    check_not_empty(scores_S)
    steps_B, score_sums_B, label_sums_B = calibration_sums(scores_S, labels_S, n_bins)
    return CalibrationCurve(steps_B, score_sums_B / steps_B, label_sums_B / steps_B)


class StepAccuracy(NamedTuple):
    """Share of steps judged right as right and wrong as wrong.

    Attributes:
        all_steps: of all labelled steps.
        right_steps: of those that are right; NaN if there are none.
        wrong_steps: of those that are wrong; NaN if there are none.
    """

    all_steps: Tensor
    right_steps: Tensor
    wrong_steps: Tensor


def step_accuracy(scores_S: Numbers, labels_S: Numbers, threshold: float = 0.5) -> StepAccuracy:
    """Accuracy of steps taken one by one, as PRM800K labels them: up to and with the first wrong step.

    Most steps are right, so a scorer that finds none wrong has a high accuracy over all: see both classes beside it.

    Args:
        scores_S: scores of the labelled steps, shape [S].
        labels_S: soft labels in [0, 1], right from 0.5 on, shape [S].
        threshold: a score below it calls the step wrong.

    Raises:
        ValueError: for mismatched shapes, no steps, a NaN score, or a label outside [0, 1].

    Example:
        >>> step_accuracy(torch.tensor([0.9, 0.4, 0.2]), torch.tensor([1.0, 1.0, 0.0])).right_steps
        tensor(0.5000)
    """
    scores_S = as_tensor(scores_S, "scores_S")
    labels_S = as_tensor(labels_S, "labels_S")
    check_not_empty(scores_S)
    check_step_scores(scores_S, labels_S)
    is_right_S = labels_S >= 0.5
    hit_S = ((scores_S >= threshold) == is_right_S).float()
    return StepAccuracy(hit_S.mean(), hit_S[is_right_S].mean(), hit_S[~is_right_S].mean())


def calibration_sums(scores_S: Tensor, labels_S: Tensor, n_bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Number of steps, sum of scores and sum of labels in each bin; arguments as :func:`step_calibration_error`.

    Returns:
        Three float32 tensors of shape [B].
    """
    check_bins(n_bins)
    check_step_scores(scores_S, labels_S)
    outside = ((scores_S < 0) | (scores_S > 1)).nonzero()
    if len(outside):
        step = int(outside[0])
        raise ValueError(f"scores_S[{step}] is {scores_S[step].item()}: calibration is defined for scores in [0, 1]")
    bin_S = (scores_S.float() * n_bins).long().clamp(max=n_bins - 1)
    zeros_B = torch.zeros(n_bins, device=scores_S.device)
    steps_B = zeros_B.scatter_add(0, bin_S, torch.ones_like(scores_S, dtype=torch.float32))
    return steps_B, zeros_B.scatter_add(0, bin_S, scores_S.float()), zeros_B.scatter_add(0, bin_S, labels_S.float())


def calibration_error(steps_B: Tensor, score_sums_B: Tensor, label_sums_B: Tensor) -> Tensor:
    """Expected calibration error from the sums of :func:`calibration_sums`; NaN if there are no steps."""
    return (score_sums_B - label_sums_B).abs().sum() / steps_B.sum()


def first_error_index(values_S: Numbers, lengths_M: Numbers, threshold: float = 0.5) -> Tensor:
    """Index of the first step of each solution whose score or label is below the threshold.

    Args:
        values_S: scores or labels of all steps, solution after solution, shape [S].
        lengths_M: number of steps of each solution, integers of sum S, each at least 1. Shape [M].
        threshold: a step is wrong if its value is below.

    Returns:
        Integers, counted from 0 within the solution; -1 where every step is right. Shape [M].

    Raises:
        ValueError: for a wrong shape, a NaN, a solution without steps, or lengths that do not add up to S.

    Example:
        >>> first_error_index(torch.tensor([0.9, 0.2, 0.1, 0.8]), torch.tensor([3, 1]))
        tensor([ 1, -1])
    """
    values_S = as_tensor(values_S, "values_S")
    lengths_M = as_tensor(lengths_M, "lengths_M")
    solution_S, lengths_M = solution_of_steps(values_S, lengths_M), lengths_M.long()
    check_no_nan("values_S", values_S)
    step_S = torch.arange(len(values_S), device=values_S.device) - (lengths_M.cumsum(dim=0) - lengths_M)[solution_S]
    beyond = len(values_S)
    error_S = step_S.masked_fill(values_S >= threshold, beyond)
    first_M = torch.full_like(lengths_M, beyond, dtype=torch.long).scatter_reduce(0, solution_S, error_S, reduce="amin")
    return first_M.masked_fill(first_M == beyond, -1)


def first_error_accuracy(scores_S: Numbers, labels_S: Numbers, lengths_M: Numbers, threshold: float = 0.5) -> Tensor:
    """Share of solutions whose first wrong step is found exactly, or which are rightly found to have none.

    Args:
        scores_S: step scores, solution after solution, shape [S].
        labels_S: soft labels in [0, 1], wrong below 0.5, shape [S].
        lengths_M: number of steps of each solution, integers of sum S, each at least 1. Shape [M].
        threshold: a score below it calls the step wrong.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: for mismatched shapes, no steps, a NaN score, a label outside [0, 1], a solution without steps, or
            lengths that do not add up to S.

    Example:
        >>> scores, labels = torch.tensor([0.9, 0.2, 0.8, 0.3]), torch.tensor([1.0, 0.0, 1.0, 1.0])
        >>> first_error_accuracy(scores, labels, torch.tensor([2, 2]))
        tensor(0.5000)
    """
    scores_S = as_tensor(scores_S, "scores_S")
    labels_S = as_tensor(labels_S, "labels_S")
    lengths_M = as_tensor(lengths_M, "lengths_M")
    check_not_empty(scores_S)
    check_step_scores(scores_S, labels_S)
    found_M = first_error_index(scores_S, lengths_M, threshold)
    return (found_M == first_error_index(labels_S, lengths_M)).float().mean()


def check_not_empty(scores_S: Tensor) -> None:
    """Raise a ValueError if there are no steps."""
    if scores_S.numel() == 0:
        raise ValueError(f"scores_S is empty, found shape {list(scores_S.shape)}")


def check_step_scores(scores_S: Tensor, labels_S: Tensor) -> None:
    """Raise a ValueError unless scores and labels have one shape [S], no score is NaN, and labels lie in [0, 1]."""
    if scores_S.ndim != 1:
        raise ValueError(f"scores_S must have shape [steps], found {list(scores_S.shape)}")
    if labels_S.shape != scores_S.shape:
        raise ValueError(f"labels_S must have shape {list(scores_S.shape)}, found {list(labels_S.shape)}")
    check_no_nan("scores_S", scores_S)
    check_labels(labels_S)


def check_labels(labels_S: Tensor) -> None:
    """Raise a ValueError that names the first label outside [0, 1]."""
    outside = (~((labels_S >= 0) & (labels_S <= 1))).nonzero()
    if len(outside):
        step = int(outside[0])
        raise ValueError(f"labels_S[{step}] is {labels_S[step].item()}: labels lie in [0, 1]")


def check_shares(name: str, values_S: Tensor) -> None:
    """Raise a ValueError that names the first value outside [0, 1] or NaN."""
    outside = (~((values_S >= 0) & (values_S <= 1))).nonzero()
    if len(outside):
        place = tuple(outside[0].tolist())
        raise ValueError(f"{name}{list(place)} is {values_S[place].item()}; it must lie in [0, 1]")


def check_problems(problems_S: Tensor, scores_S: Tensor) -> None:
    """Raise a ValueError unless there is one integer for each step."""
    if problems_S.shape != scores_S.shape:
        raise ValueError(f"problems_S must have shape {list(scores_S.shape)}, found {list(problems_S.shape)}")
    if problems_S.is_floating_point() and len(problems_S):  # an empty list has no type
        raise ValueError(f"problems_S must hold integers, found {problems_S.dtype}")


def check_bins(n_bins: int) -> None:
    """Raise a ValueError unless there is at least one bin."""
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, found {n_bins}")


def check_no_nan(name: str, values_S: Tensor) -> None:
    """Raise a ValueError that names the first NaN."""
    missing = values_S.isnan().nonzero()
    if len(missing):
        raise ValueError(f"{name}[{int(missing[0])}] is NaN")
