import subprocess
import sys

import pytest

from erprm.metrics.estimate import Curve, Estimate


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert Estimate.of([0.25, 0.25]) == Estimate(0.25, 0.25, 0.25)


def test_the_ends_of_two_values_are_the_values() -> None:
    # Both of two draws are the same value with probability 1/4 each, well beyond the tails of 2.5%.
    assert Estimate.of([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0)


def test_no_values_have_no_estimate() -> None:
    with pytest.raises(ValueError, match="not be empty"):
        Estimate.of([])


def test_a_curve_is_its_estimates() -> None:
    curve = Curve([1, 4], [0.5, 0.75], [0.4, 0.7], [0.6, 0.8])
    assert curve.at(4) == Estimate(0.75, 0.7, 0.8)
    assert curve.estimates == [Estimate(0.5, 0.4, 0.6), Estimate(0.75, 0.7, 0.8)]
    mean, low, high = curve.at(1)
    assert (mean, low, high) == (0.5, 0.4, 0.6)


def test_the_numbers_alone_need_no_torch() -> None:
    modules = "sys, erprm.metrics.estimate, erprm.report.tables, erprm.report.figures"
    script = f"import {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
