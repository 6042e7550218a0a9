import math

import numpy as np
import pytest

from erprm.data.labels import (
    PartialRewardError,
    completion_counts,
    flat_step_labels,
    flattened_rewards,
    label_eta,
    step_labels,
)
from erprm.rewards import BetaPrior

# Three steps whose completions succeeded 2 of 4 times, 0 of 2 times and, the graded outcome, once.
REWARDS = [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0], [1.0]]


@pytest.mark.parametrize(
    ("method", "eta", "expected"),
    [
        ("soft", 5.0, [0.5, 0.0, 1.0]),
        ("hard", 5.0, [1.0, 0.0, 1.0]),
        ("er", 0.0, [0.5, 0.0, 1.0]),
        ("er", math.inf, [1.0, 0.0, 1.0]),
        ("er", -math.inf, [0.0, 0.0, 1.0]),
        # ln((2 + 2 e^2) / 4) / 2 = ln(4.194528) / 2 = 0.716890
        ("er", 2.0, [0.716890, 0.0, 1.0]),
        # ln((2 + 2 e^-2) / 4) / -2 = ln(0.567668) / -2 = 0.283110
        ("er", -2.0, [0.283110, 0.0, 1.0]),
        ("outcome", 5.0, [math.nan, math.nan, 1.0]),
    ],
)
def test_labels_of_a_solution(method: str, eta: float, expected: list[float]) -> None:
    labels = step_labels(REWARDS, method, eta)  # type: ignore[arg-type]
    assert labels == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_rewards_between_0_and_1_are_averaged_in_the_exponential() -> None:
    # (e^0.5 + e^0.25) / 2 = (1.648721 + 1.284025) / 2 = 1.466373, and its logarithm 0.382792
    assert step_labels([[0.5, 0.25], [0.75]], "er", 1.0) == pytest.approx([0.382792, 0.75], abs=1e-6)


def test_a_wrong_solution_ends_in_a_label_of_zero_under_every_method() -> None:
    for method in ("er", "soft", "hard", "outcome"):
        assert step_labels([[1.0, 1.0], [0.0]], method)[-1] == 0.0


def test_flat_labels_keep_the_order_of_steps_with_different_numbers_of_completions() -> None:
    # Steps with 2, 1, 3, 1, 2 completions; the second and the fifth are the last of their solutions.
    rewards = np.array([1, 0, 1, 0, 0, 1, 1, 0, 0.5], dtype=np.float32)
    offsets = np.array([0, 2, 3, 6, 7, 9])
    last = np.array([False, True, False, False, True])
    soft = flat_step_labels(rewards, offsets, last, "soft", 1.0)
    assert soft.dtype == np.float32
    assert soft.tolist() == pytest.approx([0.5, 1.0, 1 / 3, 1.0, 0.25])
    assert flat_step_labels(rewards, offsets, last, "hard", 1.0).tolist() == [1.0, 1.0, 1.0, 1.0, 0.5]
    outcome = flat_step_labels(rewards, offsets, last, "outcome", 1.0).tolist()
    assert outcome == pytest.approx([math.nan, 1.0, math.nan, math.nan, 0.25], nan_ok=True)


# What bisection leaves: of five steps the second and the third were completed, the third is the first error.
BISECTED = [[], [0.0, 1.0], [0.0, 0.0], [], [0.0]]


def test_a_step_without_rewards_has_the_hard_label_of_the_next_that_has_some() -> None:
    assert step_labels(BISECTED, "hard") == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert step_labels(BISECTED, "er", math.inf) == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert step_labels([[], [], [1.0]], "hard") == [1.0, 1.0, 1.0]


def test_a_step_without_rewards_has_no_other_label() -> None:
    assert step_labels(BISECTED, "soft") == pytest.approx([math.nan, 0.5, 0.0, math.nan, 0.0], nan_ok=True)
    assert step_labels(BISECTED, "er", -math.inf) == pytest.approx([math.nan, 0.0, 0.0, math.nan, 0.0], nan_ok=True)
    assert step_labels(BISECTED, "outcome") == pytest.approx([*[math.nan] * 4, 0.0], nan_ok=True)


def test_no_steps_have_no_labels() -> None:
    assert step_labels([], "soft") == []


def test_the_eta_of_each_method() -> None:
    etas = [label_eta(method, 3.0) for method in ("er", "soft", "hard")]
    assert etas == [3.0, 0.0, math.inf]


def test_an_unknown_method_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="label method 'mean' is unknown; known are er, soft, hard, outcome"):
        step_labels(REWARDS, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("eta", ["high", "", None, True, math.nan])
@pytest.mark.parametrize("method", ["er", "soft", "outcome"])
def test_an_eta_that_is_no_number_is_named(method: str, eta: object) -> None:
    with pytest.raises(ValueError, match=rf"eta is {eta!r}; it must be a number, inf, -inf, soft"):
        label_eta(method, eta)


def test_posterior_labels_are_posterior_means_but_for_last_steps() -> None:
    # Under a uniform prior: (1 + right) / (2 + K). Last steps keep their graded outcome.
    rewards = flattened_rewards([[[1.0, 0.0, 0.0, 0.0], [1.0, 1.0], [1.0]], [[0.0], [0.0]]])
    labels = flat_step_labels(*rewards, "soft", 0.0, BetaPrior(1.0, 1.0))
    assert labels.tolist() == pytest.approx([2 / 6, 3 / 4, 1.0, 1 / 3, 0.0])


def test_counts_are_those_of_completed_steps_but_the_last() -> None:
    rewards = flattened_rewards([[[1.0, 0.0, 1.0], [], [1.0]], [[0.0]]])
    right, trials = completion_counts(*rewards)
    assert (right.tolist(), trials.tolist()) == ([2], [3])


def test_partial_rewards_cannot_be_counted() -> None:
    rewards = flattened_rewards([[[0.5]], [[1.0, 0.0], [], [1.0, 0.5], [1.0]]])
    with pytest.raises(PartialRewardError, match=r"^a completion has the reward 0\.5; .* it must be 0 or 1") as error:
        completion_counts(*rewards)
    assert error.value.step == 3
