"""Metrics of step scores against step labels, as torchmetrics, where torchmetrics itself has none.

Updates without steps are allowed: a rank that has run out of data can stay in step with the others.

Shape suffixes: S steps, M solutions, B calibration bins.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from erprm.metrics.functional.step_scores import (
    calibration_error,
    calibration_sums,
    check_bins,
    check_problems,
    check_step_scores,
    first_error_index,
    within_problem_auroc,
)
from erprm.tensors import Numbers, as_tensor


class WithinProblemAUROC(Metric):
    """AUROC among the steps of one problem, averaged over problems; see :func:`erprm.metrics.within_problem_auroc`.

    A problem's steps may arrive in several updates and on several ranks, so all of them are kept. Under several ranks
    each needs at least one update, if only with empty tensors.

    Args:
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = WithinProblemAUROC()
        >>> metric.update(torch.tensor([0.9]), torch.tensor([1.0]), torch.tensor([3]))
        >>> metric.update(torch.tensor([0.2]), torch.tensor([0.0]), torch.tensor([3]))
        >>> metric.compute()
        tensor(1.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]
    problems: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")
        self.add_state("problems", default=[], dist_reduce_fx="cat")

    def update(self, scores_S: Numbers, labels_S: Numbers, problems_S: Numbers) -> None:
        """Add steps; arguments and errors are those of :func:`erprm.metrics.within_problem_auroc`."""
        scores_S, labels_S, problems_S = _on(self.device, scores_S=scores_S, labels_S=labels_S, problems_S=problems_S)
        check_step_scores(scores_S, labels_S)
        check_problems(problems_S, scores_S)
        self.scores.append(scores_S)
        self.labels.append(labels_S)
        self.problems.append(problems_S.long())

    def compute(self) -> Tensor:
        """The metric over all steps since the last reset; NaN if no problem has both right and wrong steps."""
        scores_S, labels_S, problems_S = (dim_zero_cat(state) for state in (self.scores, self.labels, self.problems))
        if scores_S.numel() == 0:
            return torch.tensor(torch.nan, device=self.device)
        return within_problem_auroc(scores_S, labels_S, problems_S)


class StepCalibrationError(Metric):
    """Expected calibration error against soft labels; see :func:`erprm.metrics.step_calibration_error`.

    Args:
        n_bins: number of bins of equal width.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = StepCalibrationError()
        >>> metric.update(torch.tensor([0.75]), torch.tensor([0.25]))
        >>> metric.update(torch.tensor([0.75]), torch.tensor([0.75]))
        >>> metric.compute()
        tensor(0.2500)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    steps_B: Tensor
    score_sums_B: Tensor
    label_sums_B: Tensor

    def __init__(self, n_bins: int = 15, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_bins(n_bins)
        self.n_bins = n_bins
        for name in ("steps_B", "score_sums_B", "label_sums_B"):
            self.add_state(name, default=torch.zeros(n_bins), dist_reduce_fx="sum")

    def update(self, scores_S: Numbers, labels_S: Numbers) -> None:
        """Add steps; arguments and errors are those of :func:`erprm.metrics.step_calibration_error`."""
        scores_S, labels_S = _on(self.device, scores_S=scores_S, labels_S=labels_S)
        steps_B, score_sums_B, label_sums_B = calibration_sums(scores_S, labels_S, self.n_bins)
        self.steps_B += steps_B
        self.score_sums_B += score_sums_B
        self.label_sums_B += label_sums_B

    def compute(self) -> Tensor:
        """The metric over all steps since the last reset; NaN if there are none."""
        return calibration_error(self.steps_B, self.score_sums_B, self.label_sums_B)


class FirstErrorAccuracy(Metric):
    """Share of solutions whose first wrong step is found; see :func:`erprm.metrics.first_error_accuracy`.

    Args:
        threshold: a score below it calls the step wrong.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = FirstErrorAccuracy()
        >>> metric.update(torch.tensor([0.9, 0.2, 0.8]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([2, 1]))
        >>> metric.compute()
        tensor(0.5000)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    found: Tensor
    solutions: Tensor

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.add_state("found", default=torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("solutions", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, scores_S: Numbers, labels_S: Numbers, lengths_M: Numbers) -> None:
        """Add solutions; arguments and errors are those of :func:`erprm.metrics.first_error_accuracy`."""
        scores_S, labels_S, lengths_M = _on(self.device, scores_S=scores_S, labels_S=labels_S, lengths_M=lengths_M)
        check_step_scores(scores_S, labels_S)
        found_M = first_error_index(scores_S, lengths_M, self.threshold)
        self.found += (found_M == first_error_index(labels_S, lengths_M)).sum()
        self.solutions += len(lengths_M)

    def compute(self) -> Tensor:
        """The share over all solutions since the last reset; NaN if there are none."""
        return self.found / self.solutions


def _on(device: torch.device, **values: Numbers) -> list[Tensor]:
    """Values as tensors on the device of a metric's states."""
    return [as_tensor(each, name).to(device) for name, each in values.items()]
