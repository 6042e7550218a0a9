"""Numpy arrays and lists in the place of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from erprm import metrics, rewards
from erprm.metrics.functional.entropic_vote import entropic_vote_accuracy
from erprm.tensors import as_tensor

SCORES = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.3]]
CORRECT = [[True, False, False], [False, False, True]]
ANSWERS = [[3, 5, 5], [1, 1, 2]]
STEP_SCORES, STEP_LABELS, LENGTHS, PROBLEMS = [0.9, 0.1, 0.8, 0.7], [1.0, 0.0, 1.0, 0.0], [2, 2], [0, 0, 1, 1]

CALLS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "best_of_n": lambda f: metrics.best_of_n_accuracy(f(SCORES), f(CORRECT), 2),
    "pass_at_n": lambda f: metrics.pass_at_n(f(CORRECT), 2),
    "majority": lambda f: metrics.majority_vote_accuracy(f(ANSWERS), f(CORRECT), 2),
    "weighted_vote": lambda f: metrics.weighted_vote_accuracy(f(SCORES), f(ANSWERS), f(CORRECT), 2),
    "entropic_vote": lambda f: entropic_vote_accuracy(f(SCORES), f(ANSWERS), f(CORRECT), 2, eta=2.0),
    "random_text": lambda f: metrics.random_text_accuracy(f(ANSWERS), f(CORRECT), 2),
    "bootstrap": lambda f: metrics.bootstrap_interval(f([0.0, 1.0, 1.0])),
    "auroc": lambda f: metrics.within_problem_auroc(f(STEP_SCORES), f(STEP_LABELS), f(PROBLEMS)),
    "calibration": lambda f: metrics.step_calibration_error(f(STEP_SCORES), f(STEP_LABELS)),
    "first_error": lambda f: metrics.first_error_accuracy(f(STEP_SCORES), f(STEP_LABELS), f(LENGTHS)),
    "aggregate": lambda f: metrics.aggregate_solutions(f(STEP_SCORES), f(LENGTHS), "min"),
    "er": lambda f: rewards.entropy_regularized_reward(f(SCORES), 2.0),
    "jackknife": lambda f: rewards.jackknife_reward(f(SCORES), 2.0),
    "binary": lambda f: rewards.binary_reward(f([0.1, 0.5]), 2.0),
}


def float64(values: Any) -> torch.Tensor:
    tensor = torch.tensor(values)
    return tensor.double() if tensor.is_floating_point() else tensor


@pytest.mark.parametrize("name", sorted(CALLS))
def test_arrays_and_lists_give_what_tensors_give(name: str) -> None:
    call = CALLS[name]
    expected = call(lambda values: torch.from_numpy(np.array(values)))
    for convert in (np.array, lambda values: values, lambda values: tuple(values)):
        torch.testing.assert_close(call(convert), expected, atol=0.0, rtol=0.0)


def test_a_reward_of_a_list_by_hand() -> None:
    expected = math.log((3 + math.exp(2)) / 4) / 2
    assert rewards.entropy_regularized_reward([0.0, 0.0, 1.0, 0.0], 2.0).item() == pytest.approx(expected, abs=1e-12)


def test_a_tensor_is_taken_as_it_is() -> None:
    tensor = torch.ones(2)
    assert as_tensor(tensor, "x") is tensor
    assert as_tensor(None, "x") is None


@pytest.mark.parametrize("values", [[[1.0], [1.0, 2.0]], ["a"], [None], [object()]])
def test_what_is_no_array_of_numbers_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"scores_PN (is no array of numbers|holds )"):
        metrics.best_of_n_curves(values, [[True]])
