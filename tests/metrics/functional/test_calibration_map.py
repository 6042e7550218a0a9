import math

import pytest
import torch

from erprm.metrics import CalibrationMap, aggregate_steps, fit_calibration
from erprm.metrics.functional.calibration_map import CALIBRATION_METHODS, CalibrationMethod

MAPS = [
    CalibrationMap("temperature", {"temperature": 2.5}),
    CalibrationMap("platt", {"slope": 0.4, "intercept": -1.0}),
    CalibrationMap("beta", {"a": 0.3, "b": 1.2, "c": 0.5}),
]


def test_the_maps_are_their_formulas() -> None:
    # Of 0.9 the odds are 9 to 1.
    assert CalibrationMap("temperature", {"temperature": 2.0})([0.9]).item() == pytest.approx(3 / 4)
    assert CalibrationMap("platt", {"slope": 0.5, "intercept": math.log(2)})([0.9]).item() == pytest.approx(6 / 7)
    assert CalibrationMap("beta", {"a": 1.0, "b": 2.0, "c": 0.0})([0.9]).item() == pytest.approx(90 / 91)
    isotonic = CalibrationMap("isotonic", {"scores": [0.2, 0.4, 0.8], "values": [0.1, 0.1, 0.5]})
    torch.testing.assert_close(isotonic([0.0, 0.3, 0.6, 1.0]), torch.tensor([0.1, 0.1, 0.3, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("method", ["platt", "beta"])
def test_two_scores_become_the_success_rates_seen_at_them(method: CalibrationMethod) -> None:
    # Two or more weights can match two rates, and the likelihood is largest where they do.
    fitted = fit_calibration([0.3, 0.3, 0.3, 0.9, 0.9], [0.0, 0.0, 0.6, 1.0, 0.0], method)
    assert fitted([0.3, 0.9]).tolist() == pytest.approx([0.2, 0.5], abs=1e-4)


def test_a_temperature_undoes_overconfidence() -> None:
    # Odds of 9 to 1 where 3 to 1 is right, on both sides: the square root of the odds.
    fitted = fit_calibration([0.9, 0.1], [0.75, 0.25], "temperature")
    assert fitted.parameters["temperature"] == pytest.approx(2.0, abs=1e-4)


def test_an_isotonic_fit_pools_what_falls() -> None:
    # Means by pooling adjacent violators: 0.25 | (1 + 0 + 0.5) / 3 | 1, the last within 7/8 for six steps.
    scores, labels = [0.1, 0.1, 0.3, 0.4, 0.5, 0.9], [0.5, 0.0, 1.0, 0.0, 0.5, 1.0]
    fitted = fit_calibration(scores, labels, "isotonic")
    assert fitted.parameters["scores"] == pytest.approx([0.1, 0.3, 0.5, 0.9])
    assert fitted.parameters["values"] == pytest.approx([0.25, 0.5, 0.5, 7 / 8])
    assert fitted(scores).tolist() == pytest.approx([0.25, 0.25, 0.5, 0.5, 0.5, 7 / 8])


def test_a_negative_weight_of_beta_calibration_is_left_out() -> None:
    # Rates that rise with -ln(1 - s) and fall with ln(s), but for both together.
    scores = torch.tensor([0.1, 0.5, 0.9, 0.99])
    labels = CalibrationMap("platt", {"slope": 1.0, "intercept": 0.0})(scores)
    labels[0] = 0.4
    fitted = fit_calibration(scores, labels, "beta")
    assert fitted.parameters["a"] == 0.0
    assert fitted.parameters["b"] > 0.0  # type: ignore[operator]


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_extreme_scores_and_separable_labels_give_finite_maps(method: CalibrationMethod) -> None:
    fitted = fit_calibration([0.0, 1e-30, 0.2, 0.8, 1.0], [0.0, 0.0, 0.0, 1.0, 1.0], method)
    probabilities = fitted([0.0, 0.5, 1.0])
    assert probabilities.isfinite().all()
    assert 0.0 <= probabilities[0] < probabilities[1] < probabilities[2] <= 1.0


@pytest.mark.parametrize("fitted", MAPS, ids=lambda fitted: fitted.method)
def test_a_rising_map_keeps_what_min_and_last_choose_and_changes_products(fitted: CalibrationMap) -> None:
    first, second = torch.tensor([0.9, 0.4]), torch.tensor([0.6, 0.5])
    for aggregation in ("min", "last"):
        assert aggregate_steps(first, aggregation) < aggregate_steps(second, aggregation)
        assert aggregate_steps(fitted(first), aggregation) < aggregate_steps(fitted(second), aggregation)
    grid = fitted(torch.linspace(0.01, 0.99, 99))
    assert (grid.diff() > 0).all()


def test_products_and_means_may_choose_otherwise_after_a_calibration() -> None:
    # 0.9 * 0.4 > 0.59 * 0.6 but, with the odds 9, 2/3, 1.439, 1.5 squared, 0.988 * 0.308 < 0.674 * 0.692.
    first, second = torch.tensor([0.9, 0.4]), torch.tensor([0.59, 0.6])
    sharper = CalibrationMap("temperature", {"temperature": 0.5})
    assert aggregate_steps(first, "prod") > aggregate_steps(second, "prod")
    assert aggregate_steps(sharper(first), "prod") < aggregate_steps(sharper(second), "prod")
    assert aggregate_steps(first, "mean") > aggregate_steps(second, "mean")
    assert aggregate_steps(sharper(first), "mean") < aggregate_steps(sharper(second), "mean")


def test_an_isotonic_map_makes_ties() -> None:
    fitted = fit_calibration([0.1, 0.3, 0.4, 0.9], [0.0, 1.0, 0.0, 1.0], "isotonic")
    low, high = fitted([0.3, 0.4]).tolist()
    assert low == high


def test_what_is_no_calibration_is_refused() -> None:
    for method, parameters, message in [
        ("plat", {}, "method is 'plat'; it must be one of temperature, platt, beta, isotonic; did you mean 'platt'?"),
        ("platt", {"slope": 1.0}, "has the parameters slope, intercept; found slope"),
        ("platt", {"slope": -1.0, "intercept": 0.0}, "must rise with the score"),
        ("platt", {"slope": math.nan, "intercept": 0.0}, "must be finite numbers"),
        ("temperature", {"temperature": 0.0}, "must rise with the score"),
        ("beta", {"a": 0.0, "b": 0.0, "c": 1.0}, "must rise with the score"),
        ("isotonic", {"scores": [0.1, 0.2], "values": [0.2, 0.1]}, "rising numbers"),
        ("isotonic", {"scores": [0.1], "values": [0.1, 0.2]}, "rising numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            CalibrationMap(method, parameters)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scores\[1\] is 1.5; it must lie in"):
        MAPS[0]([0.5, 1.5])
    for method in ("temperature", "platt", "beta"):
        with pytest.raises(ValueError, match="the labels of 2 steps do not rise with their scores"):
            fit_calibration([0.1, 0.9], [1.0, 0.0], method)  # type: ignore[arg-type]
