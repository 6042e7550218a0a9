"""The figure that everything is drawn on, where matplotlib is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def empty_figure(width: float, height: float) -> Figure:
    """A figure of that many inches, which no window and no global list knows of.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'erprm[report]'") from error
    return Figure(figsize=(width, height), layout="constrained")
