"""Which solutions share a packed batch, and the order of the batches in each epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, DistributedSampler

from erprm.data.packing import pack_by_budget

if TYPE_CHECKING:
    import lightning as L

log = logging.getLogger(__name__)


class TokenBudgetSampler(DistributedSampler[Any]):
    """Yields the solutions of one packed batch at a time; every rank gets the same number of batches.

    Batches are composed once, from a seeded shuffle, and reshuffled each epoch, so the number of optimizer steps is
    known beforehand. To make their number a multiple of the number of ranks the fullest are split in two, so each
    solution is seen once an epoch. Only if every batch is down to a single solution, and their number is still no
    multiple, are fewer solutions than there are ranks seen twice, with a warning.

    It is a ``DistributedSampler`` so that Lightning neither wraps nor replaces it and calls ``set_epoch``.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        lengths: Sequence[int] | npt.NDArray[np.integer],
        max_tokens: int,
        *,
        num_replicas: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        seed: int = 0,
    ) -> None:
        """Composes the batches.

        Args:
            dataset: what the indices point into.
            lengths: tokens of each solution.
            max_tokens: the most tokens of a batch.
            num_replicas: number of ranks.
            rank: this rank.
            shuffle: whether to shuffle solutions into batches, and the batches in each epoch.
            seed: of both shuffles; the same on every rank.

        Raises:
            ValueError: if there are fewer solutions than ranks, or a solution is longer than a batch.
        """
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)
        if len(lengths) < num_replicas:
            raise ValueError(f"{len(lengths)} solution(s) cannot be shared out among {num_replicas} ranks")
        order = self._permutation(len(lengths), seed) if shuffle else range(len(lengths))
        self.packs = pack_by_budget(lengths, max_tokens, order)
        while len(self.packs) % num_replicas:
            fullest = max(range(len(self.packs)), key=lambda i: len(self.packs[i]))
            pack = self.packs[fullest]
            if len(pack) == 1:
                self._repeat_batches(-len(self.packs) % num_replicas)
            else:
                self.packs[fullest : fullest + 1] = [pack[: len(pack) // 2], pack[len(pack) // 2 :]]

    def _repeat_batches(self, count: int) -> None:
        log.warning(
            "%d batches of one solution each cannot be shared out evenly among %d ranks: %d of them will be seen "
            "twice in each epoch",
            len(self.packs),
            self.num_replicas,
            count,
        )
        self.packs += self.packs[:count]

    @staticmethod
    def _permutation(length: int, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(length, generator=generator).tolist()

    def __iter__(self) -> Iterator[Any]:
        count = len(self.packs)
        order = self._permutation(count, self.seed + 1 + self.epoch) if self.shuffle else range(count)
        return (self.packs[i] for i in list(order)[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return len(self.packs) // self.num_replicas


def replicas(trainer: L.Trainer | None) -> tuple[int, int]:
    """How many ranks a data module shares its batches among, and which of them this one is; without a trainer (1, 0).

    Ranks that hold parts of one model (tensor parallelism) get the same batches, which the trainer's strategy knows.
    """
    shares = trainer.distributed_sampler_kwargs if trainer is not None else None
    return (shares["num_replicas"], shares["rank"]) if shares else (1, 0)
