"""Candidates of one problem grouped by an equal id: the same final answer, or the same text.

Shape suffixes: P problems, N candidates a problem, C groups of a problem (as many columns as candidates, unused ones
empty).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Groups(NamedTuple):
    """Groups of candidates.

    Attributes:
        index_PN: group of each candidate, 0 to C - 1; C for candidates that belong to none. Shape [P, N].
        sizes_PC: number of candidates in each group, shape [P, C].
        correct_PC: mean correctness of each group's candidates, float64, 0 for an empty group. Shape [P, C].
    """

    index_PN: Tensor
    sizes_PC: Tensor
    correct_PC: Tensor


def group_candidates(ids_PN: Tensor, correct_PN: Tensor, counted_PN: Tensor) -> Groups:
    """Group each problem's candidates by equal id.

    Args:
        ids_PN: any integers; equal ones within a problem form a group, shape [P, N].
        correct_PN: correctness of each candidate, shape [P, N].
        counted_PN: boolean mask of the candidates that belong to a group, shape [P, N].

    Returns:
        The groups, with C = N.
    """
    no_group = ids_PN.shape[1]
    # Candidates that are not counted sort last, so that the others' groups are numbered from 0 without gaps.
    ids_PN = ids_PN.long().masked_fill(~counted_PN, torch.iinfo(torch.int64).max)
    sorted_ids_PN, order_PN = ids_PN.sort(dim=1)
    starts_PN = torch.zeros_like(ids_PN)
    starts_PN[:, 1:] = sorted_ids_PN[:, 1:] != sorted_ids_PN[:, :-1]
    index_PN = torch.zeros_like(ids_PN).scatter(1, order_PN, starts_PN.cumsum(dim=1))
    index_PN = index_PN.masked_fill(~counted_PN, no_group)

    # One column more than groups collects the candidates without a group, and is dropped.
    empty = torch.zeros(ids_PN.shape[0], no_group + 1, dtype=torch.float64, device=ids_PN.device)
    sizes_PC = empty.scatter_add(1, index_PN, torch.ones_like(index_PN, dtype=torch.float64))[:, :no_group]
    sums_PC = empty.scatter_add(1, index_PN, correct_PN.double())[:, :no_group]
    return Groups(index_PN, sizes_PC.long(), sums_PC / sizes_PC.clamp(min=1))
