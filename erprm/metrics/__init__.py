"""Metrics of reward models: selecting among candidates, votes, pass@n, intervals, and agreement with step labels.

The functions hold the formulas; the ``Metric`` classes only hold states for torchmetrics. A function named
``..._curves`` gives every problem's value for every n at once, ``[P, N]``: its mean over problems is the curve, and
:func:`bootstrap_interval` of it the curve's interval.

    >>> import torch
    >>> scores = torch.tensor([[0.9, 0.7, 0.2], [0.1, 0.8, 0.5]])
    >>> correct = torch.tensor([[False, True, False], [False, True, True]])
    >>> best_of_n_curves(scores, correct).mean(dim=0)
    tensor([0.5000, 0.6667, 0.5000], dtype=torch.float64)
"""

from erprm.metrics.functional.aggregation import Aggregation, aggregate_solutions, aggregate_steps
from erprm.metrics.functional.best_of_n import best_of_n_accuracy, best_of_n_curves, pass_at_n, pass_at_n_curves
from erprm.metrics.functional.bootstrap import bootstrap_interval, paired_bootstrap_interval
from erprm.metrics.functional.majority_vote import majority_vote_accuracy, majority_vote_curves
from erprm.metrics.functional.permutation import paired_permutation_test
from erprm.metrics.functional.processbench import best_threshold, match_intervals, processbench_score
from erprm.metrics.functional.random_text import random_text_accuracy, random_text_curves
from erprm.metrics.functional.rank_correlation import within_problem_rank_correlation
from erprm.metrics.functional.step_scores import (
    binarize_labels,
    calibration_curve,
    first_error_accuracy,
    first_error_index,
    step_accuracy,
    step_calibration_error,
    within_problem_auroc,
)
from erprm.metrics.functional.weighted_vote import weighted_vote_accuracy, weighted_vote_curves
from erprm.metrics.selection import BestOfNAccuracy, MajorityVoteAccuracy, PassAtN, WeightedVoteAccuracy
from erprm.metrics.step_scores import FirstErrorAccuracy, StepCalibrationError, WithinProblemAUROC

__all__ = [
    "Aggregation",
    "BestOfNAccuracy",
    "FirstErrorAccuracy",
    "MajorityVoteAccuracy",
    "PassAtN",
    "StepCalibrationError",
    "WeightedVoteAccuracy",
    "WithinProblemAUROC",
    "aggregate_solutions",
    "aggregate_steps",
    "best_of_n_accuracy",
    "best_of_n_curves",
    "best_threshold",
    "binarize_labels",
    "bootstrap_interval",
    "calibration_curve",
    "first_error_accuracy",
    "first_error_index",
    "majority_vote_accuracy",
    "majority_vote_curves",
    "match_intervals",
    "paired_bootstrap_interval",
    "paired_permutation_test",
    "pass_at_n",
    "pass_at_n_curves",
    "processbench_score",
    "random_text_accuracy",
    "random_text_curves",
    "step_accuracy",
    "step_calibration_error",
    "weighted_vote_accuracy",
    "weighted_vote_curves",
    "within_problem_auroc",
    "within_problem_rank_correlation",
]
