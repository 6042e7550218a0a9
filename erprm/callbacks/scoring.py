"""Base of the callbacks that evaluate a module's step scores, and scoring by all processes of a trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from erprm.callbacks.logged_media import log_figure, log_samples
from erprm.report.samples import Sample
from erprm.runs.atomic import remove_leftovers
from erprm.runs.progress import scoring_bar
from erprm.scoring import StepScorer, checked_scores, listening, refuse_nan
from erprm.steps import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TooLong = Literal["skip", "stop"]
_NAMED = 5


class ScoringCallback(L.Callback):
    """An evaluation of the module's step scores at validation epochs and in ``test``.

    An heir reads its data in :meth:`setup`, and evaluates in :meth:`evaluate` with what is here: :meth:`score`,
    :meth:`find_too_long`, :meth:`log_values`, :meth:`log_folder` and :meth:`show`.
    """

    brings_test_data = True
    """``test`` needs no other data; see :class:`erprm.data.ProcessRewardDataModule`."""

    folder: ClassVar[str]
    """Folder for files, below the folder of the run; see :func:`run_folder`."""

    def __init__(self, name: str, *, limit: int | None, every_n_epochs: int, samples: int, too_long: TooLong) -> None:
        """Notes the settings.

        Args:
            name: opens the names of the logged values; two callbacks of a class in one trainer need two names.
            limit: evaluate on at most so much of the data; None for all.
            every_n_epochs: epochs between evaluations in ``fit``.
            samples: how much of the data is shown with the scores of its steps.
            too_long: whether solutions that the module cannot read are warned of (``skip``) or refused (``stop``).

        Raises:
            ValueError: if a number is out of range.
        """
        for key, value in {"limit": limit, "every_n_epochs": every_n_epochs}.items():
            if value is not None and value < 1:
                raise ValueError(f"{key} is {value}; it must be at least 1")
        if samples < 0:
            raise ValueError(f"samples is {samples}; it must be at least 0")
        self.name = name
        self.limit = limit
        self.every_n_epochs = every_n_epochs
        self.samples = samples
        self.too_long: TooLong = too_long

    @property
    def state_key(self) -> str:
        """Tells instances in one trainer apart."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuses a module that cannot score, and a second callback of the same class and name.

        Raises:
            TypeError: if the module has no ``score_steps``.
            ValueError: if another callback of the class has the same name.
        """
        kind = type(self)
        if not isinstance(pl_module, StepScorer):
            raise TypeError(
                f"{kind.__name__} needs a module with score_steps(solutions); {type(pl_module).__name__} has none "
                "(see erprm.models.StepScorer)"
            )
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        namesakes = sum(isinstance(each, kind) and each.name == self.name for each in callbacks)
        if namesakes > 1:
            raise ValueError(f"{namesakes} {kind.__name__} callbacks are named {self.name!r}; give each its own name")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates: in ``fit`` at the chosen interval of epochs, and never in its sanity check."""
        if trainer.state.fn == TrainerFn.FITTING and (
            trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs
        ):
            return
        self.evaluate(trainer, pl_module)

    def evaluate(self, trainer: L.Trainer, module: L.LightningModule) -> Any:
        """Scores, logs and shows; all processes call it at the same time."""
        raise NotImplementedError

    def score(self, trainer: L.Trainer, module: L.LightningModule, solutions: Sequence[Solution]) -> list[Tensor]:
        """Step scores of solutions, the same on every process; see :func:`score_on_all_ranks`."""
        with trainer.precision_plugin.forward_context():
            return score_on_all_ranks(trainer, module, solutions)

    def find_too_long(
        self,
        module: L.LightningModule,
        solutions: Sequence[Solution],
        *,
        name_of: Callable[[int], str],
        consequence: str,
    ) -> set[int]:
        """The places of solutions that are too long for the module; of one without ``too_long`` none.

        Args:
            module: a scorer; its ``too_long``, if it has any, says so (see :class:`erprm.models.StepScorer`).
            solutions: what is to be scored.
            name_of: the name of a solution, by its place.
            consequence: what becomes of those that are skipped, for messages.

        Raises:
            ValueError: if there is one, and ``too_long`` is ``stop``.
        """
        ask = getattr(module, "too_long", None)
        lengths: dict[int, int] = dict(ask(solutions)) if callable(ask) else {}
        if lengths:
            named = ", ".join(f"{name_of(place)} ({lengths[place]} tokens)" for place in sorted(lengths)[:_NAMED])
            more = f" and {len(lengths) - _NAMED} more" if len(lengths) > _NAMED else ""
            found = (
                f"{self.name}: {len(lengths)} of {len(solutions)} solutions are longer than the model reads: "
                f"{named}{more}"
            )
            if self.too_long == "stop":
                raise ValueError(f"{found}. too_long is stop; with skip {consequence}")
            rank_zero_warn(f"{found}; {consequence}")
        return set(lengths)

    def log_values(self, module: L.LightningModule, values: Mapping[str, float]) -> None:
        """Logs values, the same on every process, under the callback's name."""
        named = {f"{self.name}/{key}": value for key, value in values.items()}
        # They are the same on every process, which is said so that Lightning does not warn.
        module.log_dict(named, batch_size=1, sync_dist=True)

    def log_folder(self, trainer: L.Trainer) -> Path | None:
        """The folder for files, on the process that writes them."""
        run = run_folder(trainer) if trainer.is_global_zero else None
        if run is None:
            return None
        folder = run / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, f"{self.file_name}*")  # of a killed run that this one continues
        return folder

    @property
    def file_name(self) -> str:
        """The callback's name in names of files."""
        return self.name.replace("/", "_")

    def step_file(self, folder: Path, trainer: L.Trainer, ending: str) -> Path:
        """The file of an evaluation at this optimizer step."""
        return folder / f"{self.file_name}-step={trainer.global_step}{ending}"

    def show(
        self,
        trainer: L.Trainer,
        folder: Path,
        figure_name: str,
        draw: Callable[[], Figure] | None,
        samples: Sequence[Sample],
    ) -> None:
        """Writes a figure, if there is one, and samples, and hands them to the loggers that show such things."""
        if draw is not None:
            log_figure(trainer, f"{self.name}/{figure_name}", draw, self.step_file(folder, trainer, ".png"))
        log_samples(trainer, f"{self.name}/samples", samples, self.step_file(folder, trainer, "-samples.jsonl"))


def run_folder(trainer: L.Trainer) -> Path | None:
    """The folder that a run shares with no other, where ``ModelCheckpoint`` puts ``checkpoints`` too; on process 0.

    ``trainer.log_dir`` is one only with the loggers of Lightning that write files; with others all runs of a
    ``save_dir`` would write to the same place. None in a ``fast_dev_run``.
    """
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger = trainer.loggers[0]
    if isinstance(logger, DummyLogger):
        return None
    if isinstance(logger, TensorBoardLogger | CSVLogger):
        return Path(logger.log_dir)
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)


# Scoring by all processes -----------------------------------------------------------------------------------------


def score_on_all_ranks(trainer: L.Trainer, module: L.LightningModule, solutions: Sequence[Solution]) -> list[Tensor]:
    """Step scores of the solutions, the same on every process; all processes call it at the same time.

    Each process scores a share of the solutions. Only where the trainer's strategy shards weights, so that each forward
    takes all processes, and the module does not see to it that all make the same number of forwards
    (``ranks_may_differ``, see :class:`erprm.models.StepScorer`), each scores all of them.

    Args:
        trainer: the trainer.
        module: its module, a :class:`erprm.models.StepScorer`.
        solutions: what to score, the same on every process.

    Returns:
        For each solution the scores of its steps, in float32, on the CPU.

    Raises:
        ValueError: if the module returns not one score for each step, or NaN for one; names the solution.
    """
    is_sharded = isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy)
    world_size = trainer.world_size
    if not solutions:
        return []
    if world_size == 1 or (is_sharded and not getattr(module, "ranks_may_differ", False)):
        return _scores(trainer, module, solutions)
    # Dealt out longest first, so that the shares are about equally long.
    order = sorted(range(len(solutions)), key=lambda i: -sum(map(len, solutions[i].steps)))
    own = order[trainer.global_rank :: world_size]
    lengths = [len(solution.steps) for solution in solutions]
    gathered = [torch.zeros(length) for length in lengths]
    if own or is_sharded:
        for place, scores in zip(own, _scores(trainer, module, [solutions[i] for i in own]), strict=True):
            gathered[place] = scores
    # Each step has a score on one process and zero on the others.
    flat_S = torch.cat([*gathered, torch.empty(0)]).to(trainer.strategy.root_device)
    return list(trainer.strategy.reduce(flat_S, reduce_op="sum").cpu().split(lengths))


def _scores(trainer: L.Trainer, module: L.LightningModule, solutions: Sequence[Solution]) -> list[Tensor]:
    assert isinstance(module, StepScorer)
    scores: Any
    with _shown_progress(trainer, len(solutions)):
        if isinstance(trainer.model, FullyShardedDataParallel):
            # Weights outside the decoder layers are only there while a forward of the wrapper runs.
            scores = trainer.strategy._forward_redirection(trainer.model, module, "score_steps", solutions)
        else:
            scores = module.score_steps(solutions)
    checked = checked_scores(scores, solutions)
    refuse_nan(checked, solutions)
    return checked


# Progress beside the trainer's own progress bar -------------------------------------------------------------------


@contextmanager
def _shown_progress(trainer: L.Trainer, solutions: int) -> Iterator[None]:
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
