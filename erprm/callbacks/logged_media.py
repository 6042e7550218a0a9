"""Saves figures and tables as files of a run, and sends them to loggers that can show them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from erprm.report.samples import Sample, sample_table, samples_markdown, write_samples
from erprm.runs.atomic import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


def log_figure(trainer: L.Trainer, name: str, draw: Callable[[], Figure], path: Path) -> None:
    """Draws a figure, writes it, and hands it to TensorBoard and Weights & Biases; the first process calls it.

    Without matplotlib nothing is drawn, which is said once.

    Args:
        trainer: whose loggers get the figure.
        name: under which they show it.
        draw: makes it.
        path: PNG to write.
    """
    try:
        figure = draw()
    except ImportError as error:
        _say_once(f"no figures are drawn: {error}")
        return
    write_figure(figure, path)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, trainer.global_step)
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], step=trainer.global_step)


def log_samples(trainer: L.Trainer, name: str, samples: Sequence[Sample], path: Path) -> None:
    """Writes scored solutions, and hands them to TensorBoard and Weights & Biases as a table; for the first process.

    Args:
        trainer: whose loggers get the table.
        name: under which they show it.
        samples: the rows; none: nothing is done.
        path: JSON lines to write.
    """
    if not samples:
        return
    write_samples(samples, path)
    columns, rows = sample_table(samples)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, samples_markdown(samples), trainer.global_step)
        elif isinstance(logger, WandbLogger):
            logger.log_table(name, columns, rows, step=trainer.global_step)


@cache
def _say_once(message: str) -> None:
    log.warning(message)
