"""Packed rows: several solutions in a row, with padding only where a row is not quite full.

A row is a forest in depth-first order (see :mod:`erprm.data.batching.tries`). Token i sees token j exactly if
``j <= i < subtree_end[j]``: j itself, and all that follows below it. Positions are depths. Solutions that share
nothing are chains, and this is plain packing: one after another, with positions that restart at 0. A padding token is
a chain of one.

One long row suits attention kernels that skip what is masked. Where masked attention is computed anyway (on a
CPU), several shorter rows cost less: attention is quadratic in the length of a row.

Shape suffixes: R rows, T tokens of a row, S scored steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PackedRows", "StepBatch", "pack_solutions"]

IntArray = npt.NDArray[np.integer]
Layout = Literal["single", "rows", "trees"]
Packing = Literal["trees", "rows"]
PACKINGS = get_args(Packing)


@dataclass
class PackedRows:
    """Token sequences laid out in rows.

    Attributes:
        input_ids: tokens ``[R, T]``, padded with 0.
        position_ids: positions ``[R, T]``: depth in the tree, so 0 where a sequence that shares nothing begins.
        subtree_end: where in its row the subtree of each token ends, exclusive ``[R, T]``.
        layout: ``trees`` if sequences share tokens, ``rows`` if some stand in one row, ``single`` if each has a row of
            its own. Kept outside the tensors, so that choosing an attention kernel waits for no device.
    """

    input_ids: Tensor
    position_ids: Tensor
    subtree_end: Tensor
    layout: Layout


@dataclass
class StepBatch(PackedRows):
    """Packed rows with the steps to score in them.

    Attributes:
        tag_index: index in the flattened rows of each scored step's tag ``[S]``; solutions that begin with the same
            steps share their tags.
        labels: label of each scored step ``[S]``, in [0, 1].
        solution: which solution of the batch each scored step belongs to ``[S]``.
        problem: number of the problem each scored step belongs to ``[S]``; the same number means the same problem.
        record_ids: name of each solution of the batch, for messages.
        counts: sum of the completion rewards, and number of completions, of each scored step ``[S, 2]``; None where the
            module does not ask for them (see :attr:`erprm.models.ProcessRewardModel.counted_for`).
    """

    tag_index: Tensor
    labels: Tensor
    solution: Tensor
    problem: Tensor
    record_ids: list[str] = field(default_factory=list)
    counts: Tensor | None = None


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
        raise ValueError(f"data.max_length is {max_length}; it must be in [1, data.max_tokens={max_tokens}]")
    if row_tokens is not None and row_tokens < 1:
        raise ValueError(f"data.row_tokens is {row_tokens}; it must be at least 1")


def pack_rows(
    token_ids: Sequence[IntArray | Sequence[int]],
    row_tokens: int | None = None,
    shared: IntArray | None = None,
) -> tuple[PackedRows, list[npt.NDArray[np.int64]]]:
    """Lays sequences out in rows.

    Args:
        token_ids: tokens of each sequence.
        row_tokens: the most tokens of a row (a larger tree still gets a row of its own); ``None``: one row.
        shared: number of leading tokens that each sequence shares with the one before it, where they are in trie order
            (see :func:`erprm.data.batching.tries.trie_order`); 0 begins a tree. ``None``: nothing is shared.

    Returns:
        The rows, and for each sequence the index in the flattened rows of each of its tokens.
    """
    import torch

    lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    depths_before = np.zeros(len(lengths), dtype=np.int64) if shared is None else shared.astype(np.int64)
    new = lengths - depths_before
    first_of_tree = np.flatnonzero(depths_before == 0)
    tree_sizes = np.add.reduceat(new, first_of_tree)
    rows = [list(range(len(tree_sizes)))] if row_tokens is None else _first_fit_rows(tree_sizes.tolist(), row_tokens)
    width = max(int(tree_sizes[row].sum()) for row in rows)

    row_of_tree = np.zeros(len(tree_sizes), dtype=np.int64)
    start_of_tree = np.zeros(len(tree_sizes), dtype=np.int64)
    for number, row in enumerate(rows):
        row_of_tree[row] = number
        start_of_tree[row] = np.cumsum(tree_sizes[row]) - tree_sizes[row]
    tree = np.cumsum(depths_before == 0) - 1
    new_before = np.cumsum(new) - new
    # Where in its row the new tokens of each sequence begin.
    starts = start_of_tree[tree] + new_before - new_before[first_of_tree][tree]
    row_starts = row_of_tree[tree] * width

    input_ids = np.zeros(len(rows) * width, dtype=np.int64)
    position_ids = np.zeros(len(rows) * width, dtype=np.int64)
    subtree_end = np.tile(np.arange(1, width + 1), len(rows))
    depths = np.arange(lengths.max())
    paths: list[npt.NDArray[np.int64]] = []
    path = np.zeros(len(depths), dtype=np.int64)
    for ids, length, depth, start, row_start in zip(
        token_ids, lengths.tolist(), depths_before.tolist(), starts.tolist(), row_starts.tolist(), strict=True
    ):
        place = slice(row_start + start, row_start + start + length - depth)
        input_ids[place] = ids[depth:]
        position_ids[place] = depths[depth:length]
        path[depth:length] = depths[: length - depth] + place.start
        paths.append(path[:length].copy())

    _fill_subtree_ends(subtree_end, lengths, depths_before, starts, row_starts)

    layout: Layout = "trees" if depths_before.any() else "single" if len(rows) == len(lengths) else "rows"
    shape = (len(rows), width)
    return PackedRows(
        input_ids=torch.from_numpy(input_ids.reshape(shape)),
        position_ids=torch.from_numpy(position_ids.reshape(shape)),
        subtree_end=torch.from_numpy(subtree_end.reshape(shape)),
        layout=layout,
    ), paths


def _fill_subtree_ends(
    subtree_end: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    shared: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    row_starts: npt.NDArray[np.int64],
) -> None:
    """Writes into the flattened rows where the subtree of each token ends, as counted in its row."""
    # Backwards: the subtree of a token at depth d ends where a later sequence brings a new token at depth d or above.
    end_of_depth = np.zeros(lengths.max(), dtype=np.int64)
    is_last = True
    places = zip(lengths.tolist(), shared.tolist(), starts.tolist(), row_starts.tolist(), strict=True)
    for length, depth, start, row_start in reversed(list(places)):
        if is_last:
            end_of_depth[:] = start + length - depth
        subtree_end[row_start + start : row_start + start + length - depth] = end_of_depth[depth:length]
        end_of_depth[depth:] = start
        is_last = depth == 0


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
    shared: IntArray | None = None,
    counts: Sequence[npt.NDArray[np.float32]] | None = None,
) -> StepBatch:
    """Lays solutions out in rows.

    Args:
        token_ids: tokens of each solution.
        tag_positions: positions of its tags.
        labels: label of each tag; a tag whose label is NaN stays in the row but is not scored. ``None``: score every
            tag, with NaN labels.
        problems: problem number of each solution.
        record_ids: name of each solution.
        row_tokens: the most tokens of a row; ``None``: one row.
        shared: number of leading tokens that each solution shares with the one before it (see :func:`pack_rows`).
        counts: sum of the completion rewards, and number of completions, of each tag ``[tags, 2]``.
    """
    import torch

    rows, paths = pack_rows(token_ids, row_tokens, shared)
    tag_index = np.concatenate([path[np.asarray(tags)] for tags, path in zip(tag_positions, paths, strict=True)])
    solution = np.repeat(np.arange(len(token_ids)), [len(tags) for tags in tag_positions])
    label = np.full(len(tag_index), np.nan, np.float32) if labels is None else np.concatenate(labels)
    count = None if counts is None else np.concatenate(counts)
    if labels is not None:
        labelled = ~np.isnan(label)
        tag_index, solution, label = tag_index[labelled], solution[labelled], label[labelled]
        count = None if count is None else count[labelled]
    problem = solution if problems is None else np.asarray(problems)[solution]
    return StepBatch(
        **vars(rows),
        tag_index=torch.from_numpy(tag_index),
        labels=torch.from_numpy(label),
        solution=torch.from_numpy(solution.astype(np.int64)),
        problem=torch.from_numpy(np.asarray(problem, dtype=np.int64)),
        record_ids=list(record_ids),
        counts=None if count is None else torch.from_numpy(count),
    )


def budget_bounds(
    lengths: Sequence[int] | IntArray,
    max_tokens: int,
    order: Sequence[int] | IntArray,
    shared: IntArray | None = None,
) -> npt.NDArray[np.int64]:
    """Groups solutions, taken in the given order, into batches of at most ``max_tokens`` laid-out tokens.

    A batch is closed when the next solution does not fit, so batches keep the order's randomness. A tree that a batch
    cannot hold whole goes on in the next one, its shared prefix once more.

    Args:
        lengths: tokens of each solution.
        max_tokens: the most tokens of a batch.
        order: the indices to group.
        shared: for each place in that order, how many leading tokens its solution shares with the one before it;
            ``None``: nothing is shared.

    Returns:
        Bounds of the batches: batch ``b`` holds ``order[bounds[b] : bounds[b + 1]]``.

    Raises:
        ValueError: if a solution is longer than a batch.
    """
    order = np.asarray(order, dtype=np.int64)
    lengths = np.asarray(lengths, dtype=np.int64)[order]
    if len(lengths) and lengths.max() > max_tokens:
        place = int(np.argmax(lengths > max_tokens))
        raise ValueError(
            f"solution {order[place]} has {lengths[place]} tokens, more than a batch holds (max_tokens={max_tokens})"
        )
    shared = np.zeros_like(lengths) if shared is None else shared
    laid_out = np.concatenate([[0], np.cumsum(lengths - shared)])
    bounds = [0]
    while bounds[-1] < len(lengths):
        start = bounds[-1]
        # The first solution of a batch shares nothing with what went before.
        limit = laid_out[start] + max_tokens - shared[start]
        bounds.append(int(np.searchsorted(laid_out, limit, side="right")) - 1)
    return np.array(bounds)
