import subprocess
import sys

import numpy as np
import pytest

from erprm.report.figures import curves_figure
from tests.report.test_tables import CURVES


def test_the_figure_has_a_line_for_each_method_and_a_band_for_each_model() -> None:
    figure = curves_figure({"PRM": CURVES["PRM"]}, {"majority vote": CURVES["majority vote"]}, "title")
    (axes,) = figure.axes
    prm, majority = axes.lines
    assert (prm.get_label(), majority.get_label()) == ("PRM", "majority vote")
    assert np.asarray(prm.get_xydata()) == pytest.approx(np.array([[1, 50.0], [2, 62.6], [4, 75.0]]))
    assert len(axes.collections) == 1


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
