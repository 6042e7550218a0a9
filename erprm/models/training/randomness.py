"""Random numbers of a training as a function of its seed, the process and the number of the batch.

So whatever draws random numbers while a batch is trained on (dropout) draws the same after a resumption, and nothing
needs to be gathered from the processes for a checkpoint.
"""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_batch(seed: int, rank: int, batch: int) -> None:
    """Seeds the generators of Python, NumPy and torch (all devices) for one batch.

    Args:
        seed: of the training.
        rank: number of the process.
        batch: number of the batch, counted over the whole training.
    """
    for_torch, for_numpy, for_python = np.random.SeedSequence([seed, rank, batch]).generate_state(3, np.uint64)
    torch.manual_seed(int(for_torch))
    np.random.seed(int(for_numpy) % 2**32)  # noqa: NPY002 (the generator that others draw from)
    random.seed(int(for_python))
