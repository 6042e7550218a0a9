"""Validation metrics of step scores: torchmetrics, gathered over batches and ranks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, PearsonCorrCoef
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from erprm.metrics import StepCalibrationError, WithinProblemAUROC


class StepMetrics(nn.Module):
    """Loss and quality of step scores.

    ``loss``; ``accuracy`` at 0.5; ``auroc`` over all steps; ``auroc_within_problems``, which question difficulty and
    step position cannot lift; ``calibration_error``; ``correlation`` with the (soft) labels. Where a metric needs both
    classes, a label of at least 0.5 is the good one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracy = BinaryAccuracy()
        self.auroc = BinaryAUROC()
        self.auroc_within_problems = WithinProblemAUROC()
        self.calibration_error = StepCalibrationError()
        self.correlation = PearsonCorrCoef()

    def update(
        self,
        scores_S: Tensor,
        labels_S: Tensor,
        losses_S: Tensor,
        problem_S: Tensor,
        weights_S: Tensor | None = None,
    ) -> None:
        """Adds the steps of one row.

        Args:
            scores_S: score of each step ``[S]``.
            labels_S: its label, in [0, 1] ``[S]``.
            losses_S: its loss ``[S]``.
            problem_S: number of its problem ``[S]``.
            weights_S: how often its loss counts in the mean ``[S]``; ``None``: once.
        """
        is_good_S = (labels_S >= 0.5).long()
        self.loss.update(losses_S, 1.0 if weights_S is None else weights_S)
        self.accuracy.update(scores_S, is_good_S)
        self.auroc.update(scores_S, is_good_S)
        self.auroc_within_problems.update(scores_S, labels_S, problem_S)
        self.calibration_error.update(scores_S, labels_S)
        self.correlation.update(scores_S, labels_S)

    def compute(self) -> dict[str, Tensor]:
        """The metrics since the last reset, each a scalar in float32."""
        return {name: torch.as_tensor(metric.compute()).float() for name, metric in self._metrics()}

    def reset(self) -> None:
        """Forgets what was added."""
        for _, metric in self._metrics():
            metric.reset()

    def _metrics(self) -> list[tuple[str, Metric]]:
        return [(name, child) for name, child in self.named_children() if isinstance(child, Metric)]
