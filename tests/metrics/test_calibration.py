import math

import pytest
import torch

from erprm.metrics import calibration_gain, cross_fitted_calibration, step_calibration_error


def test_each_problem_is_calibrated_by_the_others() -> None:
    # One score only, so a map is the mean label of the other problems: isotonic, within 1/6 and 5/6 for four steps.
    labels = [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    calibrated = cross_fitted_calibration([0.5] * 6, labels, [7, 7, 3, 3, 9, 9], "isotonic", folds=3)
    assert calibrated.tolist() == pytest.approx([0.25, 0.25, 0.75, 0.75, 0.5, 0.5])


def test_losses_are_means_over_steps_with_the_difference() -> None:
    scores, calibrated = [0.8, 0.6, 0.2], [0.9, 0.5, 0.5]
    labels, problems = [1.0, 0.5, 0.0], [0, 0, 1]
    gain = calibration_gain(scores, calibrated, labels, problems)
    log_loss = -(math.log(0.8) + 0.5 * math.log(0.6) + 0.5 * math.log(0.4) + math.log(0.8)) / 3
    after = -(math.log(0.9) + math.log(0.5) + math.log(0.5)) / 3
    assert gain.before.log_loss.mean == pytest.approx(log_loss)
    assert gain.after.log_loss.mean == pytest.approx(after)
    assert gain.change.log_loss.mean == pytest.approx(after - log_loss)
    assert gain.before.brier.mean == pytest.approx((0.04 + 0.01 + 0.04) / 3)
    # No two scores share a bin before; afterwards the two of 0.5 do, and their errors of 0 and 0.5 add up.
    assert gain.before.calibration_error.mean == pytest.approx((0.2 + 0.1 + 0.2) / 3)
    assert gain.after.calibration_error.mean == pytest.approx((0.1 + 0.5) / 3)
    # Of two problems a resample has both, or one of them twice.
    assert (gain.before.brier.low, gain.before.brier.high) == pytest.approx((0.025, 0.04))


def test_the_calibration_error_is_the_one_of_the_step_metrics() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(2, 500, generator=generator)
    gain = calibration_gain(scores, scores, labels, torch.arange(500) % 50)
    expected = step_calibration_error(scores, labels).item()
    assert gain.before.calibration_error.mean == pytest.approx(expected, abs=1e-6)
    assert tuple(gain.change.calibration_error) == (0.0, 0.0, 0.0)


def test_a_certain_score_has_a_finite_loss() -> None:
    gain = calibration_gain([1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [0, 1])
    assert gain.before.log_loss.mean == pytest.approx(25 * math.log(2) / 2, rel=1e-6)


def test_folds_are_of_whole_problems() -> None:
    with pytest.raises(ValueError, match="folds is 5; it must be at least 2, and at most 2, the number of problems"):
        cross_fitted_calibration([0.1, 0.2, 0.3], [0.0, 0.0, 1.0], [4, 4, 8])
    with pytest.raises(ValueError, match=r"scores_S\[0\] is 1.5; it must lie in"):
        cross_fitted_calibration([1.5, 0.2], [0.0, 1.0], [0, 1], folds=2)
