"""Metrics of reward models: selecting among candidates, votes, pass@n, intervals, and agreement with step labels.

The functions hold the formulas; the ``Metric`` classes only hold states for torchmetrics. A function named
``..._curves`` gives every problem's value for every n at once, ``[P, N]``: its mean over problems is the curve, and
:func:`bootstrap_interval` of it the curve's interval.

    >>> import torch
    >>> from erprm.metrics import best_of_n_curves, bootstrap_interval
    >>> scores = torch.tensor([[0.9, 0.7, 0.2], [0.1, 0.8, 0.5]])
    >>> correct = torch.tensor([[False, True, False], [False, True, True]])
    >>> best_of_n_curves(scores, correct).mean(dim=0)
    tensor([0.5000, 0.6667, 0.5000], dtype=torch.float64)
"""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.metrics.adaptive_n import calibrate_adaptive_n as calibrate_adaptive_n
    from erprm.metrics.calibration import calibration_gain as calibration_gain
    from erprm.metrics.calibration import cross_fitted_calibration as cross_fitted_calibration
    from erprm.metrics.functional.aggregation import Aggregation as Aggregation
    from erprm.metrics.functional.aggregation import aggregate_solutions as aggregate_solutions
    from erprm.metrics.functional.aggregation import aggregate_steps as aggregate_steps
    from erprm.metrics.functional.bellman import entropic_bellman_residual as entropic_bellman_residual
    from erprm.metrics.functional.best_of_n import best_of_n_accuracy as best_of_n_accuracy
    from erprm.metrics.functional.best_of_n import best_of_n_curves as best_of_n_curves
    from erprm.metrics.functional.best_of_n import pass_at_n as pass_at_n
    from erprm.metrics.functional.best_of_n import pass_at_n_curves as pass_at_n_curves
    from erprm.metrics.functional.calibration_map import CalibrationMap as CalibrationMap
    from erprm.metrics.functional.calibration_map import fit_calibration as fit_calibration
    from erprm.metrics.functional.entropic_vote import default_eta as default_eta
    from erprm.metrics.functional.entropic_vote import entropic_vote_accuracy as entropic_vote_accuracy
    from erprm.metrics.functional.entropic_vote import entropic_vote_curves as entropic_vote_curves
    from erprm.metrics.functional.majority_vote import majority_vote_accuracy as majority_vote_accuracy
    from erprm.metrics.functional.majority_vote import majority_vote_curves as majority_vote_curves
    from erprm.metrics.functional.peak import peak_of_best_of_n as peak_of_best_of_n
    from erprm.metrics.functional.processbench import best_threshold as best_threshold
    from erprm.metrics.functional.processbench import match_intervals as match_intervals
    from erprm.metrics.functional.processbench import processbench_score as processbench_score
    from erprm.metrics.functional.random_text import random_text_accuracy as random_text_accuracy
    from erprm.metrics.functional.random_text import random_text_curves as random_text_curves
    from erprm.metrics.functional.resampling import bootstrap_interval as bootstrap_interval
    from erprm.metrics.functional.resampling import paired_bootstrap_interval as paired_bootstrap_interval
    from erprm.metrics.functional.resampling import paired_permutation_test as paired_permutation_test
    from erprm.metrics.functional.soft_best_of_n import soft_best_of_n_accuracy as soft_best_of_n_accuracy
    from erprm.metrics.functional.soft_best_of_n import soft_best_of_n_curves as soft_best_of_n_curves
    from erprm.metrics.functional.step_scores import binarize_labels as binarize_labels
    from erprm.metrics.functional.step_scores import calibration_curve as calibration_curve
    from erprm.metrics.functional.step_scores import first_error_accuracy as first_error_accuracy
    from erprm.metrics.functional.step_scores import first_error_index as first_error_index
    from erprm.metrics.functional.step_scores import step_accuracy as step_accuracy
    from erprm.metrics.functional.step_scores import step_calibration_error as step_calibration_error
    from erprm.metrics.functional.step_scores import within_problem_auroc as within_problem_auroc
    from erprm.metrics.functional.text_features import (
        within_problem_rank_correlation as within_problem_rank_correlation,
    )
    from erprm.metrics.functional.weighted_vote import weighted_vote_accuracy as weighted_vote_accuracy
    from erprm.metrics.functional.weighted_vote import weighted_vote_curves as weighted_vote_curves
    from erprm.metrics.selection import BestOfNAccuracy as BestOfNAccuracy
    from erprm.metrics.selection import EntropicVoteAccuracy as EntropicVoteAccuracy
    from erprm.metrics.selection import MajorityVoteAccuracy as MajorityVoteAccuracy
    from erprm.metrics.selection import PassAtN as PassAtN
    from erprm.metrics.selection import WeightedVoteAccuracy as WeightedVoteAccuracy
    from erprm.metrics.step_scores import FirstErrorAccuracy as FirstErrorAccuracy
    from erprm.metrics.step_scores import StepCalibrationError as StepCalibrationError
    from erprm.metrics.step_scores import WithinProblemAUROC as WithinProblemAUROC

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
