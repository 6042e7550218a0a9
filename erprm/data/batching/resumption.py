"""Base of data modules that keep their place in the data in checkpoints, so that a resumed run continues there.

Batches are a function of the seed and the epoch (see :mod:`erprm.data.batching.sampler`), so a place among
them is two numbers: the epoch, and how many of its batches have been trained on. Lightning's own protocol for resumable
loaders does not do: it restores a loader's state only from within an epoch, and begins the first epoch after a
resumption in the order of epoch 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from erprm.data.batching.sampler import SolutionGroups, TokenBudgetSampler, replicas
from erprm.errors import InputError
from erprm.runs.signals import leave_signals_to_parent


class ResumeError(InputError):
    """A checkpoint that the present settings would not continue; the message shows both values of each difference."""


def check_unchanged(saved: Mapping[str, Any], now: Mapping[str, Any], *, allow_change: bool) -> None:
    """Compares what a checkpoint was trained with to what training would go on with.

    Args:
        saved: name to value, of the checkpoint.
        now: name to value, of the present settings. A name that only one side knows is not compared.
        allow_change: whether to warn of differences instead of refusing them.

    Raises:
        ResumeError: naming what differs, with both values, unless ``allow_change``.
    """
    changes = [f"{name}: {saved[name]!r} -> {new!r}" for name, new in now.items() if saved.get(name, new) != new]
    if not changes:
        return
    found = f"the checkpoint was trained with other settings (checkpoint -> now): {', '.join(changes)}"
    if not allow_change:
        raise ResumeError(f"{found}. Restore them, or set data.allow_change to true to continue with the present ones")
    rank_zero_warn(f"{found}; going on, since data.allow_change is true")


def unfinished_accumulation(trainer: L.Trainer) -> int:
    """Number of batches since the last optimizer step; a checkpoint holds none of their gradients."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress  # Lightning declares its counters too broadly
    done: int = progress.current.processed
    if progress.is_last_batch and done == progress.current.ready:
        return 0  # Lightning takes an optimizer step at the end of an epoch.
    return done % trainer.accumulate_grad_batches


def place_in_training(trainer: L.Trainer) -> tuple[int, int]:
    """The epoch, and how many of its batches the weights have seen: what a run resumed from now goes on with."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    is_between_epochs = epochs.processed == epochs.ready
    return epochs.processed, 0 if is_between_epochs else batches.processed - unfinished_accumulation(trainer)


class ResumableDataModule(L.LightningDataModule):
    """Base of the package's data modules: checkpoints hold their place in the data and what the data were.

    Attributes:
        max_tokens: tokens of a batch.
        num_workers: data-loading processes.
        seed: of the shuffles.
        allow_change: whether to resume with data or settings other than those of the checkpoint.
    """

    max_tokens: int
    num_workers: int
    seed: int
    allow_change: bool
    _resumed_place: tuple[int, int] = (0, 0)
    _identity: dict[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Everything that determines the batches of ``fit``, after ``setup``: name to a plain value."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Forgets what belongs to an earlier run."""
        self._identity = None
        self._resumed_place = (0, 0)

    def _known_identity(self) -> dict[str, Any]:
        if self._identity is None:
            self._identity = {**self.identity(), "number of processes": replicas(self.trainer)[0]}
        return self._identity

    def state_dict(self) -> dict[str, Any]:
        """The place in the data and its identity, for a checkpoint."""
        assert self.trainer is not None
        return {"place": list(place_in_training(self.trainer)), "identity": self._known_identity()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to the place that a checkpoint holds.

        Raises:
            ResumeError: if the checkpoint was trained on other data and ``allow_change`` is not set.
        """
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_unchanged(state_dict["identity"], self._known_identity(), allow_change=self.allow_change)
            epoch, batches = state_dict["place"]
            self._resumed_place = (epoch, batches)

    def packed_loader(
        self,
        dataset: Dataset[Any],
        lengths: Sequence[int] | npt.NDArray[np.integer],
        *,
        groups: SolutionGroups | None = None,
        shuffle: bool = True,
    ) -> DataLoader[Any]:
        """Loads packed batches; the shuffled ones, those of training, from the place a resumed run stands at."""
        num_replicas, rank = replicas(self.trainer)
        sampler = TokenBudgetSampler(
            dataset,
            lengths,
            self.max_tokens,
            groups=groups,
            num_replicas=num_replicas,
            rank=rank,
            shuffle=shuffle,
            seed=self.seed,
        )
        if shuffle:
            self._go_to_place(sampler)
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=leave_signals_to_parent,
            # Its own, so that loading leaves the random numbers of the training alone.
            generator=torch.Generator(),
        )

    def _go_to_place(self, sampler: TokenBudgetSampler) -> None:
        if self.trainer is None:
            return
        # The loops know their place only once they have been restored, and a module may ask for the loader before that.
        sampler.begin_at(*max(self._resumed_place, place_in_training(self.trainer)))
        # Lightning looks for state in the loader itself, where its restoring of it would come too late.
        warnings.filterwarnings(
            "ignore", "You're resuming from a checkpoint that ended before the epoch ended", PossibleUserWarning
        )
