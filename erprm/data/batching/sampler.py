"""Assigns solutions to packed batches, and orders the batches in each epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, DistributedSampler

from erprm.data.packing import budget_bounds

if TYPE_CHECKING:
    import lightning as L

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SolutionGroups:
    """Solutions that belong together in a batch, since they share leading tokens: those of one question.

    Attributes:
        members: the solutions, group after group, each group in trie order (see :mod:`.tries`) ``[N]``.
        offsets: group ``g`` is ``members[offsets[g] : offsets[g + 1]]``.
        shared: number of leading tokens that each of ``members`` shares with the one before it ``[N]``; 0 where a
            group begins.
    """

    members: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    shared: npt.NDArray[np.int32]

    def in_order(self, group_order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Places in ``members``, the groups taken in another order ``[N]``."""
        sizes = np.diff(self.offsets)[group_order]
        begins = np.cumsum(sizes) - sizes
        places: npt.NDArray[np.int64] = np.repeat(self.offsets[group_order] - begins, sizes)
        return places + np.arange(len(places))


class TokenBudgetSampler(DistributedSampler[Any]):
    """Yields the solutions of one packed batch at a time; every rank gets the same number of batches.

    Batches are composed once, from a seeded shuffle, and reshuffled each epoch, so the number of optimizer steps is
    known in advance, and a batch depends on nothing but the seed, the epoch and its place. Each is filled to within a
    solution of the token budget, so ranks do equal work. To make their number a multiple of the number of ranks the
    fullest are split in two, so each solution is seen once an epoch. Only if every batch is down to a single solution,
    and their number is still no multiple, are fewer solutions than there are ranks seen twice, with a warning.

    It is a ``DistributedSampler`` so that Lightning neither wraps nor replaces it and calls ``set_epoch``.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        lengths: Sequence[int] | npt.NDArray[np.integer],
        max_tokens: int,
        *,
        groups: SolutionGroups | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        """Composes the batches.

        Args:
            dataset: what the indices point into.
            lengths: tokens of each solution.
            max_tokens: the most tokens of a batch; what solutions of a group share counts once.
            groups: solutions to keep together; ``None``: each is shuffled by itself, and nothing is shared.
            num_replicas: number of ranks.
            rank: this rank.
            shuffle: whether to shuffle groups into batches, and the batches in each epoch.
            seed: of both shuffles; the same on every rank.

        Raises:
            ValueError: if there are fewer solutions than ranks, or a solution is longer than a batch.
        """
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)
        self._begin = (0, 0)
        if len(lengths) < num_replicas:
            raise ValueError(f"{len(lengths)} solution(s) cannot be divided among {num_replicas} ranks")
        count = len(lengths) if groups is None else len(groups.offsets) - 1
        order = self._permutation(count, seed) if shuffle else np.arange(count)
        shared = None
        if groups is not None:
            places = groups.in_order(order)
            order, shared = groups.members[places], groups.shared[places]
        self._order = order
        self._bounds = self._equal_shares(budget_bounds(lengths, max_tokens, order, shared))

    def _equal_shares(self, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Splits the fullest batches until their number is a multiple of the number of ranks."""
        while (len(bounds) - 1) % self.num_replicas:
            sizes = np.diff(bounds)
            fullest = int(sizes.argmax())
            if sizes[fullest] == 1:
                break
            bounds = np.insert(bounds, fullest + 1, bounds[fullest] + sizes[fullest] // 2)
        self._repeated = -(len(bounds) - 1) % self.num_replicas
        if self._repeated:
            log.warning(
                "%d batches of one solution each cannot be shared out evenly among %d ranks: %d of them will be seen "
                "twice in each epoch",
                len(bounds) - 1,
                self.num_replicas,
                self._repeated,
            )
        return bounds

    @staticmethod
    def _permutation(length: int, seed: int) -> npt.NDArray[np.int64]:
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(length, generator=generator).numpy()

    @property
    def _batches(self) -> int:
        """Batches of an epoch, over all ranks."""
        return len(self._bounds) - 1 + self._repeated

    def batch(self, number: int) -> list[int]:
        """The solutions of one of the batches, counted over all ranks in the order they were composed."""
        number %= len(self._bounds) - 1
        members: list[int] = self._order[self._bounds[number] : self._bounds[number + 1]].tolist()
        return members

    def begin_at(self, epoch: int, batches: int) -> None:
        """Goes to an epoch, and leaves out so many of its first batches."""
        self.set_epoch(epoch)
        self._begin = (epoch, batches)

    def __iter__(self) -> Iterator[Any]:
        count = self._batches
        order = self._permutation(count, self.seed + 1 + self.epoch) if self.shuffle else np.arange(count)
        epoch, done = self._begin
        mine = order[self.rank :: self.num_replicas].tolist()
        return (self.batch(number) for number in mine[done if self.epoch == epoch else 0 :])

    def __len__(self) -> int:
        return self._batches // self.num_replicas


def replicas(trainer: L.Trainer | None) -> tuple[int, int]:
    """Number of ranks that share a data module's batches, and the index of this one; without a trainer (1, 0).

    Ranks that hold parts of one model (tensor parallelism) get the same batches, which the trainer's strategy knows.
    """
    shares = trainer.distributed_sampler_kwargs if trainer is not None else None
    return (shares["num_replicas"], shares["rank"]) if shares else (1, 0)
