"""The progress bar of scoring."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _SolutionsPerSecond(ProgressColumn):
    """Solutions scored in a second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("- /s" if speed is None else f"{speed:,.1f} /s")


def scoring_bar(console: Console) -> Progress:
    """A bar of solutions done and in all, solutions a second, and the time that is left; quiet if there is no terminal.

    Args:
        console: where it is shown.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("solutions"),
        _SolutionsPerSecond(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # The first parts, of the longest solutions, take longest.
        speed_estimate_period=60,
    )
