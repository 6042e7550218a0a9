"""Packed rows: several solutions one after another in a row, with padding only where a row is not quite full.

Positions restart at 0 with each solution. A causal LM of transformers that gets such ``position_ids`` and no attention
mask keeps the solutions apart by itself (``masking_utils.find_packed_sequence_indices``, transformers 5.16 to 5.19).

One long row suits attention kernels that skip what is masked. Where masked attention is computed all the same (on a
CPU), several shorter rows cost less: attention is quadratic in the length of a row.

Shape suffixes: R rows, T tokens of a row, S scored steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IntArray = npt.NDArray[np.integer]


@dataclass
class StepBatch:
    """Packed rows with the steps to score in them.

    Attributes:
        input_ids: tokens ``[R, T]``.
        position_ids: positions ``[R, T]``, restarting at 0 with each solution.
        tag_index: index in the flattened rows of each scored step's tag ``[S]``.
        labels: label of each scored step ``[S]``, in [0, 1].
        solution: which solution of the batch each scored step belongs to ``[S]``.
        problem: number of the problem each scored step belongs to ``[S]``; the same number means the same problem.
        record_ids: name of each solution of the batch, for messages.
    """

    input_ids: Tensor
    position_ids: Tensor
    tag_index: Tensor
    labels: Tensor
    solution: Tensor
    problem: Tensor
    record_ids: list[str] = field(default_factory=list)


def check_token_limits(max_length: int, row_tokens: int | None, max_tokens: int) -> None:
    """Checks the limits, in tokens, that a data module is given.

    Args:
        max_length: of one solution.
        row_tokens: of a row.
        max_tokens: of a batch.

    Raises:
        ValueError: naming the setting of the data module that is out of range.
    """
    if not 0 < max_length <= max_tokens:
        raise ValueError(f"data.max_length is {max_length}; it must be in [1, max_tokens={max_tokens}]")
    if row_tokens is not None and row_tokens < 1:
        raise ValueError(f"data.row_tokens is {row_tokens}; it must be at least 1")


def pack_rows(
    token_ids: Sequence[IntArray | Sequence[int]], row_tokens: int | None = None
) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
    """Lays sequences one after another into rows.

    Args:
        token_ids: tokens of each sequence.
        row_tokens: the most tokens of a row (a longer sequence still gets a row of its own); ``None``: one row.

    Returns:
        Tokens ``[R, T]`` (padded with 0), positions ``[R, T]``, and where each sequence starts in the flattened rows.
    """
    lengths = [len(ids) for ids in token_ids]
    rows = [list(range(len(lengths)))] if row_tokens is None else _first_fit_rows(lengths, row_tokens)
    width = max(sum(lengths[i] for i in row) for row in rows)
    input_ids = np.zeros((len(rows), width), dtype=np.int64)
    position_ids = np.zeros_like(input_ids)
    starts = np.zeros(len(lengths), dtype=np.int64)
    for number, row in enumerate(rows):
        start = 0
        for i in row:
            stop = start + lengths[i]
            input_ids[number, start:stop] = token_ids[i]
            position_ids[number, start:stop] = np.arange(lengths[i])
            starts[i] = number * width + start
            start = stop
    return torch.from_numpy(input_ids), torch.from_numpy(position_ids), starts


def _first_fit_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Longest first, each into the first row with room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = next((number for number, left in enumerate(room) if left >= lengths[i]), None)
        if fitting is None:
            rows.append([i])
            room.append(row_tokens - lengths[i])
        else:
            rows[fitting].append(i)
            room[fitting] -= lengths[i]
    return rows


def pack_solutions(
    token_ids: Sequence[IntArray | Sequence[int]],
    tag_positions: Sequence[IntArray | Sequence[int]],
    labels: Sequence[npt.NDArray[np.float32]] | None = None,
    problems: Sequence[int] | None = None,
    record_ids: Sequence[str] = (),
    row_tokens: int | None = None,
) -> StepBatch:
    """Lays solutions one after another.

    Args:
        token_ids: tokens of each solution.
        tag_positions: positions of its tags.
        labels: label of each tag; a tag whose label is NaN stays in the row but is not scored. ``None``: score every
            tag, with NaN labels.
        problems: problem number of each solution.
        record_ids: name of each solution.
        row_tokens: the most tokens of a row; ``None``: one row.
    """
    input_ids, position_ids, starts = pack_rows(token_ids, row_tokens)
    tag_index = np.concatenate([np.asarray(tags) + start for tags, start in zip(tag_positions, starts, strict=True)])
    solution = np.repeat(np.arange(len(token_ids)), [len(tags) for tags in tag_positions])
    label = np.full(len(tag_index), np.nan, np.float32) if labels is None else np.concatenate(labels)
    if labels is not None:
        labelled = ~np.isnan(label)
        tag_index, solution, label = tag_index[labelled], solution[labelled], label[labelled]
    problem = solution if problems is None else np.asarray(problems)[solution]
    return StepBatch(
        input_ids=input_ids,
        position_ids=position_ids,
        tag_index=torch.from_numpy(tag_index.astype(np.int64)),
        labels=torch.from_numpy(label),
        solution=torch.from_numpy(solution.astype(np.int64)),
        problem=torch.from_numpy(np.asarray(problem, dtype=np.int64)),
        record_ids=list(record_ids),
    )


def pack_by_budget(
    lengths: Sequence[int] | IntArray, max_tokens: int, order: Sequence[int] | IntArray
) -> list[list[int]]:
    """Groups solutions, taken in the given order, into batches of at most ``max_tokens`` tokens.

    A batch is closed when the next solution does not fit, so batches keep the order's randomness.

    Args:
        lengths: tokens of each solution.
        max_tokens: the most tokens of a batch.
        order: the indices to group.

    Raises:
        ValueError: if a solution is longer than a batch.
    """
    packs: list[list[int]] = []
    room = 0
    for index in order:
        length = int(lengths[index])
        if length > max_tokens:
            raise ValueError(f"solution {index} has {length} tokens, more than a batch holds (max_tokens={max_tokens})")
        if not packs or length > room:
            packs.append([])
            room = max_tokens
        packs[-1].append(int(index))
        room -= length
    return packs
