"""Numpy arrays and lists in the place of tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from erprm import losses, metrics, rewards
from erprm.tensors import as_tensor

SCORES = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.3]]
CORRECT = [[True, False, False], [False, False, True]]
ANSWERS = [[3, 5, 5], [1, 1, 2]]
STEP_SCORES, STEP_LABELS, LENGTHS, PROBLEMS = [0.9, 0.1, 0.8, 0.7], [1.0, 0.0, 1.0, 0.0], [2, 2], [0, 0, 1, 1]
SUCCESSES, TRIALS = [3, 0, 2, 1], [4, 4, 2, 1]
FIRST_ERRORS, LOGITS = [1, -1], [[2.0, -1.0], [0.5, 0.5], [-3.0, 1.0], [0.0, 4.0]]

Convert = Callable[[Any], Any]


def updated(metric: Any, *values: Any) -> Any:
    """A metric's result after two equal updates."""
    metric.update(*values)
    metric.update(*values)
    return metric.compute()


# Every name of erprm.metrics that takes numbers, by that name; and those of other modules.
CALLS: dict[str, Callable[[Convert], Any]] = {
    "BestOfNAccuracy": lambda f: updated(metrics.BestOfNAccuracy(2), f(SCORES), f(CORRECT)),
    "EntropicVoteAccuracy": lambda f: updated(metrics.EntropicVoteAccuracy(2, 2.0), f(SCORES), f(ANSWERS), f(CORRECT)),
    "FirstErrorAccuracy": lambda f: updated(metrics.FirstErrorAccuracy(), f(STEP_SCORES), f(STEP_LABELS), f(LENGTHS)),
    "MajorityVoteAccuracy": lambda f: updated(metrics.MajorityVoteAccuracy(2), f(ANSWERS), f(CORRECT)),
    "PassAtN": lambda f: updated(metrics.PassAtN(2), f(CORRECT)),
    "StepCalibrationError": lambda f: updated(metrics.StepCalibrationError(), f(STEP_SCORES), f(STEP_LABELS)),
    "WeightedVoteAccuracy": lambda f: updated(metrics.WeightedVoteAccuracy(2), f(SCORES), f(ANSWERS), f(CORRECT)),
    "WithinProblemAUROC": lambda f: updated(metrics.WithinProblemAUROC(), f(STEP_SCORES), f(STEP_LABELS), f(PROBLEMS)),
    "CalibrationMap": lambda f: metrics.CalibrationMap("platt", {"slope": 2.0, "intercept": 0.5})(f(STEP_SCORES)),
    "aggregate_solutions": lambda f: metrics.aggregate_solutions(f(STEP_SCORES), f(LENGTHS), "min"),
    "aggregate_steps": lambda f: metrics.aggregate_steps(f(STEP_SCORES), "prod"),
    "best_of_n_accuracy": lambda f: metrics.best_of_n_accuracy(f(SCORES), f(CORRECT), 2),
    "best_of_n_curves": lambda f: metrics.best_of_n_curves(f(SCORES), f(CORRECT)),
    "best_threshold": lambda f: metrics.best_threshold(
        metrics.match_intervals(f(STEP_SCORES), f(LENGTHS), f(FIRST_ERRORS)), f(FIRST_ERRORS)
    ),
    "binarize_labels": lambda f: metrics.binarize_labels(f(STEP_LABELS)),
    "bootstrap_interval": lambda f: metrics.bootstrap_interval(f([0.0, 1.0, 1.0])),
    "calibrate_adaptive_n": lambda f: metrics.calibrate_adaptive_n(f(SCORES), f(ANSWERS), 0.4, batch=1),
    "calibration_gain": lambda f: torch.tensor(
        [*metrics.calibration_gain(f(STEP_SCORES), f(STEP_LABELS), f(STEP_LABELS), f(PROBLEMS)).change.brier]
    ),
    "calibration_curve": lambda f: metrics.calibration_curve(f(STEP_SCORES), f(STEP_LABELS), n_bins=2),
    "cross_fitted_calibration": lambda f: metrics.cross_fitted_calibration(
        f(STEP_SCORES), f(STEP_LABELS), f(PROBLEMS), folds=2
    ),
    "default_eta": lambda f: metrics.default_eta(f(SCORES)),
    "entropic_bellman_residual": lambda f: metrics.entropic_bellman_residual(
        f(STEP_SCORES), f(LENGTHS), f(STEP_LABELS[:2]), f(PROBLEMS[1:3]), 2.0, f([0, 1, 0, 2])
    )[:5],
    "entropic_vote_accuracy": lambda f: metrics.entropic_vote_accuracy(f(SCORES), f(ANSWERS), f(CORRECT), 2, eta=2.0),
    "entropic_vote_curves": lambda f: metrics.entropic_vote_curves(f(SCORES), f(ANSWERS), f(CORRECT), eta=2.0),
    "first_error_accuracy": lambda f: metrics.first_error_accuracy(f(STEP_SCORES), f(STEP_LABELS), f(LENGTHS)),
    "first_error_index": lambda f: metrics.first_error_index(f(STEP_SCORES), f(LENGTHS)),
    "fit_calibration": lambda f: metrics.fit_calibration(f(STEP_SCORES), f(STEP_LABELS))(f(STEP_SCORES)),
    "majority_vote_accuracy": lambda f: metrics.majority_vote_accuracy(f(ANSWERS), f(CORRECT), 2),
    "majority_vote_curves": lambda f: metrics.majority_vote_curves(f(ANSWERS), f(CORRECT)),
    "match_intervals": lambda f: metrics.match_intervals(f(STEP_SCORES), f(LENGTHS), f(FIRST_ERRORS)),
    "paired_bootstrap_interval": lambda f: metrics.paired_bootstrap_interval(f(SCORES[0]), f(SCORES[1])),
    "paired_permutation_test": lambda f: metrics.paired_permutation_test(f(SCORES[0]), f(SCORES[1])),
    "pass_at_n": lambda f: metrics.pass_at_n(f(CORRECT), 2),
    "pass_at_n_curves": lambda f: metrics.pass_at_n_curves(f(CORRECT)),
    "peak_of_best_of_n": lambda f: metrics.peak_of_best_of_n(
        f([[0.9, 0.5] * 4] * 2), f([[1.0, 0.0] * 4] * 2), n_resamples=2
    ),
    "processbench_score": lambda f: metrics.processbench_score(
        metrics.match_intervals(f(STEP_SCORES), f(LENGTHS), f(FIRST_ERRORS)), f(FIRST_ERRORS), f([0.25, 0.75])
    ),
    "random_text_accuracy": lambda f: metrics.random_text_accuracy(f(ANSWERS), f(CORRECT), 2),
    "random_text_curves": lambda f: metrics.random_text_curves(f(ANSWERS), f(CORRECT)),
    "step_accuracy": lambda f: metrics.step_accuracy(f(STEP_SCORES), f(STEP_LABELS)),
    "step_calibration_error": lambda f: metrics.step_calibration_error(f(STEP_SCORES), f(STEP_LABELS)),
    "soft_best_of_n_accuracy": lambda f: metrics.soft_best_of_n_accuracy(f(SCORES), f(CORRECT), 2, eta=2.0),
    "soft_best_of_n_curves": lambda f: metrics.soft_best_of_n_curves(f(SCORES), f(CORRECT), eta=2.0),
    "weighted_vote_accuracy": lambda f: metrics.weighted_vote_accuracy(f(SCORES), f(ANSWERS), f(CORRECT), 2),
    "weighted_vote_curves": lambda f: metrics.weighted_vote_curves(f(SCORES), f(ANSWERS), f(CORRECT)),
    "within_problem_auroc": lambda f: metrics.within_problem_auroc(f(STEP_SCORES), f(STEP_LABELS), f(PROBLEMS)),
    "within_problem_rank_correlation": lambda f: metrics.within_problem_rank_correlation(
        f(SCORES), f(ANSWERS), f([[True] * 3] * 2)
    ),
    "er": lambda f: rewards.entropy_regularized_reward(f(SCORES), 2.0),
    "jackknife": lambda f: rewards.jackknife_reward(f(SCORES), 2.0),
    "binary": lambda f: rewards.binary_reward(f([0.1, 0.5]), 2.0),
    "two_way": lambda f: losses.step_losses(f(LOGITS), f(STEP_LABELS)),
    "mse": lambda f: losses.step_losses(f(LOGITS), f(STEP_LABELS), "mse"),
    "vocabulary": lambda f: losses.vocabulary_losses(f(LOGITS), f(STEP_LABELS), (0, 1)),
    "beta_binomial": lambda f: losses.beta_binomial_losses(f(LOGITS), f(STEP_LABELS), f(SUCCESSES), f(TRIALS)),
    "step_beliefs": lambda f: losses.step_beliefs(f(LOGITS)),
}
TYPES: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "float64": lambda array: array,
    "float32": lambda array: array.astype(np.float32) if array.dtype == np.float64 else array,
    "integers": lambda array: array.round().astype(np.int64) if array.dtype == np.float64 else array,
    "narrow integers": lambda array: array.astype(np.int32) if array.dtype == np.int64 else array,
}


def test_everything_public_that_takes_numbers_is_tried() -> None:
    assert set(metrics.__all__) - CALLS.keys() == {"Aggregation"}


@pytest.mark.parametrize("of_type", TYPES)
@pytest.mark.parametrize("name", CALLS)
def test_arrays_give_what_tensors_give(name: str, of_type: str) -> None:
    def array(values: Any) -> np.ndarray[Any, Any]:
        return TYPES[of_type](np.array(values))

    expected = CALLS[name](lambda values: torch.from_numpy(array(values)))
    torch.testing.assert_close(CALLS[name](array), expected, atol=0.0, rtol=0.0)


@pytest.mark.parametrize("name", CALLS)
def test_lists_give_what_tensors_give(name: str) -> None:
    call = CALLS[name]
    expected = call(lambda values: torch.from_numpy(np.array(values)))
    for convert in (lambda values: values, tuple, of_integers_where_whole):
        torch.testing.assert_close(call(convert), expected, atol=0.0, rtol=0.0)


def of_integers_where_whole(values: Any) -> Any:
    """Lists as people write them: 1 for 1.0."""
    if isinstance(values, list):
        return [of_integers_where_whole(value) for value in values]
    return int(values) if isinstance(values, float) and values.is_integer() else values


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.step_losses([0.5, 0.1], [1.0]), "logits_S2 must have shape [steps, labels], found [2]"),
        (lambda: losses.step_losses([[0.5, 0.1, 0.2]], [1.0]), "logits_S2 must have shape [steps, 2], found [1, 3]"),
        (lambda: losses.step_losses([[0.5, 0.1]], [1.0, 0.0]), "labels_S must have shape [1], found [2]"),
        (
            lambda: losses.beta_binomial_losses([[0.5, 0.1]], [1.0], [1.0], [2.0, 2.0]),
            "trials_S must have shape [1], found [2]",
        ),
        (lambda: losses.step_beliefs([[0.5]]), "logits_S2 must have shape [steps, 2], found [1, 1]"),
        (lambda: losses.vocabulary_losses([[0.5]], [[1.0]], (0, 0)), "labels_S must have shape [1], found [1, 1]"),
        (lambda: losses.step_losses([["a", "b"]], [1.0]), "logits_S2 holds <U1; it must be a tensor, a numpy array"),
        (lambda: metrics.BestOfNAccuracy(1).update([0.5], [[True]]), "scores_PN must have shape [1, 1], found [1]"),
        (lambda: metrics.PassAtN(1).update([True]), "correct_PN must have shape [problems, candidates], found [1]"),
        (lambda: metrics.StepCalibrationError().update([[0.5]], [[1.0]]), "scores_S must have shape [steps], found"),
        (lambda: metrics.WithinProblemAUROC().update([0.5], [1.0], [0.0]), "problems_S must hold integers, found"),
        (lambda: metrics.FirstErrorAccuracy().update([0.5], [1.0], [2]), "lengths_M adds up to 2, but there are 1"),
    ],
)
def test_a_wrong_shape_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_an_update_of_empty_lists_changes_nothing() -> None:
    for metric, values in (
        (metrics.WithinProblemAUROC(), (STEP_SCORES, STEP_LABELS, PROBLEMS)),
        (metrics.StepCalibrationError(), (STEP_SCORES, STEP_LABELS)),
        (metrics.FirstErrorAccuracy(), (STEP_SCORES, STEP_LABELS, LENGTHS)),
    ):
        metric.update(*values)
        before = metric.compute()
        metric.update(*([] for _ in values))
        assert metric.compute() == before


def test_a_reward_of_a_list_by_hand() -> None:
    expected = math.log((3 + math.exp(2)) / 4) / 2
    assert rewards.entropy_regularized_reward([0.0, 0.0, 1.0, 0.0], 2.0).item() == pytest.approx(expected, abs=1e-12)


def test_a_tensor_is_taken_as_it_is() -> None:
    tensor = torch.ones(2)
    assert as_tensor(tensor, "x") is tensor
    assert as_tensor(None, "x") is None


@pytest.mark.parametrize("values", [[[1.0], [1.0, 2.0]], ["a"], [None], [object()]])
def test_what_is_no_array_of_numbers_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"scores_PN (is not an array of numbers|holds )"):
        metrics.best_of_n_curves(values, [[True]])
