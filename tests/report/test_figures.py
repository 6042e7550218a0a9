import subprocess
import sys

import numpy as np
import pytest

from erprm.report.figures import curves_figure, vote_figure
from tests.report.test_tables import CURVES


def test_the_figure_has_a_line_for_each_method_and_a_band_for_each_model() -> None:
    figure = curves_figure({"PRM": CURVES["PRM"]}, {"majority vote": CURVES["majority vote"]}, "title")
    (axes,) = figure.axes
    prm, majority = axes.lines
    assert (prm.get_label(), majority.get_label()) == ("PRM", "majority vote")
    assert np.asarray(prm.get_xydata()) == pytest.approx(np.array([[1, 50.0], [2, 62.6], [4, 75.0]]))
    assert len(axes.collections) == 1


def test_votes_are_drawn_against_eta_for_each_n_and_as_a_heat_map() -> None:
    curve = {"n": [1, 2], "low": [0.1, 0.2], "high": [0.5, 0.6]}
    means = {0.0: [0.4, 0.4], 5.0: [0.4, 0.5]}
    votes = {"eta": 5.0, "curves": [{"eta": eta, "mean": mean, **curve} for eta, mean in means.items()]}
    lines, heat, _ = vote_figure(votes, "title").axes
    drawn = [line for line in lines.lines if str(line.get_label()).startswith("n = ")]
    assert [list(line.get_ydata()) for line in drawn] == [[40.0, 40.0], [40.0, 50.0]]  # type: ignore[arg-type]
    (image,) = heat.images
    assert image.get_array().tolist() == [[40.0, 40.0], [40.0, 50.0]]  # type: ignore[union-attr]


def test_a_figure_without_matplotlib_names_the_extra() -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
from erprm.report.figures import empty_figure
try:
    empty_figure(1, 1)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "figures need matplotlib: pip install 'erprm[report]'\n"
