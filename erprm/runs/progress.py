"""Progress bars of long runs, all in one style."""

from __future__ import annotations

from collections.abc import Callable

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


class _Speed(ProgressColumn):
    def __init__(self, text_of: Callable[[Task], str]) -> None:
        super().__init__()
        self._text_of = text_of

    def render(self, task: Task) -> Text:
        return Text(self._text_of(task))


def progress_bar(
    console: Console,
    unit: str = "",
    speed: Callable[[Task], str] | None = None,
    *,
    speed_period: float = 30.0,
    only_in_terminal: bool = False,
) -> Progress:
    """A bar of what is done and in all, the time that it took, and the time that is left.

    The last is estimated from ``speed_period`` seconds, which must hold several advances.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([TextColumn(unit)] if unit else []),
        *([_Speed(speed)] if speed else []),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=only_in_terminal and not console.is_terminal,
        speed_estimate_period=speed_period,
    )


def scoring_bar(console: Console) -> Progress:
    """The bar of scoring: solutions, and solutions per second; nothing where there is no terminal."""

    def speed(task: Task) -> str:
        per_second = task.finished_speed or task.speed
        return "- /s" if per_second is None else f"{per_second:,.1f} /s"

    # The first parts, of the longest solutions, take longest.
    return progress_bar(console, "solutions", speed, speed_period=60, only_in_terminal=True)
