"""Progress of scoring beside the trainer's own progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console
from rich.progress import Progress

from erprm.report.scoring_bar import scoring_bar
from erprm.scoring.progress import listening


@contextmanager
def shown_progress(trainer: L.Trainer, solutions: int) -> Iterator[None]:
    """Shows how many solutions are scored, and how fast, as long as the trainer shows a progress bar of its own.

    Of several processes the first shows its part, which is about as large as that of every other.

    Args:
        trainer: the trainer.
        solutions: how many this process scores.
    """
    bar = trainer.progress_bar_callback
    if bar is None or not getattr(bar, "is_enabled", True) or not trainer.is_global_zero:
        yield
        return
    description = "Scoring" if trainer.world_size == 1 else f"Scoring (1 of {trainer.world_size} processes)"
    if isinstance(bar, RichProgressBar) and bar.progress is not None:
        with _line_of(bar, bar.progress, description, solutions):
            yield
        return
    with scoring_bar(Console(stderr=True)) as progress:
        task = progress.add_task(description, total=solutions)
        with listening(lambda count: progress.advance(task, count)):
            yield
        progress.update(task, completed=solutions)


@contextmanager
def _line_of(bar: RichProgressBar, progress: Progress, description: str, solutions: int) -> Iterator[None]:
    """A line of the trainer's bar, for a terminal has room for one live display."""
    task = progress.add_task(description, total=solutions)

    def show(count: int) -> None:
        progress.advance(task, count)
        bar.refresh()

    try:
        with listening(show):
            yield
    finally:
        # Not removed: Lightning finds its own tasks by their place.
        progress.update(task, visible=False)
        bar.refresh(hard=True)
