"""Every metric over two real processes equals the same metric over all data in one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torchmetrics import Metric

from erprm.metrics import (
    BestOfNAccuracy,
    FirstErrorAccuracy,
    MajorityVoteAccuracy,
    PassAtN,
    StepCalibrationError,
    WeightedVoteAccuracy,
    WithinProblemAUROC,
)

GENERATOR = torch.Generator().manual_seed(0)
SCORES_PN = torch.rand(5, 4, generator=GENERATOR)
ANSWERS_PN = torch.randint(-1, 2, (5, 4), generator=GENERATOR)
CORRECT_PN = ANSWERS_PN == 0
SCORES_S = torch.rand(40, generator=GENERATOR)
LABELS_S = torch.rand(40, generator=GENERATOR)
PROBLEMS_S = torch.randint(0, 4, (40,), generator=GENERATOR)
LENGTHS_M = torch.full((10,), 4)

# Each metric, and its arguments from a share of the problems, steps and solutions.
METRICS: list[tuple[Callable[[], Metric], Callable[[slice, slice, slice], tuple[Tensor, ...]]]] = [
    (lambda: BestOfNAccuracy(2), lambda p, _s, _m: (SCORES_PN[p], CORRECT_PN[p])),
    (lambda: MajorityVoteAccuracy(3), lambda p, _s, _m: (ANSWERS_PN[p], CORRECT_PN[p])),
    (lambda: WeightedVoteAccuracy(4), lambda p, _s, _m: (SCORES_PN[p], ANSWERS_PN[p], CORRECT_PN[p])),
    (lambda: PassAtN(2), lambda p, _s, _m: (CORRECT_PN[p],)),
    (WithinProblemAUROC, lambda _p, s, _m: (SCORES_S[s], LABELS_S[s], PROBLEMS_S[s])),
    (StepCalibrationError, lambda _p, s, _m: (SCORES_S[s], LABELS_S[s])),
    (FirstErrorAccuracy, lambda _p, s, m: (SCORES_S[s], LABELS_S[s], LENGTHS_M[m])),
]


def values_of(begin: int, end: int) -> list[float]:
    """Every metric's value on tenths ``begin`` to ``end`` of the data (even numbers)."""
    shares = slice(begin // 2, end // 2), slice(begin * 4, end * 4), slice(begin, end)
    values = []
    for build, arguments in METRICS:
        metric = build()
        metric.update(*arguments(*shares))
        values.append(metric.compute().item())
    return values


def run_rank(rank: int, folder: Path) -> None:
    """Give rank 0 six tenths of the data and rank 1 the rest; each saves what it computes."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(values_of(0, 6) if rank == 0 else values_of(6, 10), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_with_unequal_shares_agree_with_one_process(tmp_path: Path) -> None:
    spawn(run_rank, args=(tmp_path,), nprocs=2)
    expected = values_of(0, 10)
    assert expected != values_of(0, 6)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(expected, abs=1e-6)
