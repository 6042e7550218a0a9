import io
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from erprm.metrics.evaluation import Curve
from erprm.report.best_of_n import best_of_n_figure, best_of_n_markdown, best_of_n_table

CURVES = {
    "PRM": Curve([1, 2, 4], [0.5, 0.626, 0.75], [0.4, 0.5, 0.7], [0.6, 0.7, 0.8]),
    "majority vote": Curve([1, 2, 4], [0.5, 0.5, 0.55], [0.4, 0.4, 0.45], [0.6, 0.6, 0.65]),
}


def test_the_markdown_table_has_percentages_with_intervals() -> None:
    assert best_of_n_markdown(CURVES) == (
        "| accuracy, % [95% interval] | n = 1 | n = 2 | n = 4 |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| PRM | 50.0 [40.0, 60.0] | 62.6 [50.0, 70.0] | 75.0 [70.0, 80.0] |\n"
        "| majority vote | 50.0 [40.0, 60.0] | 50.0 [40.0, 60.0] | 55.0 [45.0, 65.0] |\n"
    )


def test_the_terminal_table_has_the_chosen_columns() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(best_of_n_table(CURVES, "title", [1, 4]))
    text = console.export_text()
    assert "n = 4" in text
    assert "n = 2" not in text
    assert "75.0 [70.0, 80.0]" in text


def test_the_figure_has_a_line_for_each_method_and_a_band_for_each_model() -> None:
    figure = best_of_n_figure({"PRM": CURVES["PRM"]}, {"majority vote": CURVES["majority vote"]}, "title")
    (axes,) = figure.axes
    prm, majority = axes.lines
    assert (prm.get_label(), majority.get_label()) == ("PRM", "majority vote")
    assert np.asarray(prm.get_xydata()) == pytest.approx(np.array([[1, 50.0], [2, 62.6], [4, 75.0]]))
    assert len(axes.collections) == 1


def test_a_figure_without_matplotlib_names_the_extra() -> None:
    script = """
import sys
sys.modules["matplotlib"] = None
from erprm.report.figure import empty_figure
try:
    empty_figure(1, 1)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "figures need matplotlib: pip install 'erprm[report]'\n"
