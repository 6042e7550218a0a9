"""Tries of solutions: tokens that solutions of a question begin with are laid out once; and batches of tries.

Solutions in order of their tokens, each with the number of leading tokens it shares with the one before it, are a token
trie in depth-first order. Here with letters for tokens:

    solution    shared    new tokens        what the row holds
    Q a b       0         Q a b             Q
    Q a c d     2         c d               |- a
    Q e         1         e                 |  |- b
                                            |  `- c - d
                                            `- e

Shape suffixes: N solutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from erprm.data.packing import Packing, budget_bounds
from erprm.steps import EncodedSolution, Solution

IntArray = npt.NDArray[np.integer]


def shared_prefix(first: IntArray, second: IntArray) -> int:
    """Number of leading tokens that two sequences have in common."""
    length = min(len(first), len(second))
    unequal = first[:length] != second[:length]
    place = int(unequal.argmax()) if length else 0
    return place if length and unequal[place] else length


def trie_order(token_ids: Sequence[IntArray]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Order in which sequences form a token trie.

    Args:
        token_ids: tokens of each sequence.

    Returns:
        The sequences in order of their tokens ``[N]`` (equal ones stay in the order given), and for each place in that
        order the number of leading tokens shared with the sequence before it ``[N]``, 0 for the first.
    """
    # The bytes of big-endian numbers sort as the numbers do.
    keys = [np.asarray(ids).astype(">i4").tobytes() for ids in token_ids]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    shared = np.zeros(len(keys), dtype=np.int32)
    for place in range(1, len(order)):
        shared[place] = shared_prefix(np.asarray(token_ids[order[place - 1]]), np.asarray(token_ids[order[place]]))
    return order, shared


def shared_among(kept_N: npt.NDArray[np.bool_], shared_N: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Shared prefixes when only some of the sequences are kept.

    Args:
        kept_N: which sequences, in trie order, are kept ``[N]``.
        shared_N: tokens each shares with the sequence before it ``[N]``.

    Returns:
        Tokens that each kept sequence shares with the kept one before it: the fewest shared on the way between them.
    """
    places = np.flatnonzero(kept_N)
    if not len(places):
        return np.empty(0, dtype=np.int32)
    way_starts = np.concatenate([[0], places[:-1] + 1])
    return np.minimum.reduceat(shared_N[: places[-1] + 1], way_starts)


def cut_tries(lengths_N: IntArray, shared_N: npt.NDArray[np.int32], max_tokens: int) -> npt.NDArray[np.int32]:
    """Cuts tries of more than ``max_tokens`` tokens into smaller ones, each of which holds the shared prefix again.

    Args:
        lengths_N: tokens of each sequence, in trie order ``[N]``.
        shared_N: tokens each shares with the sequence before it; 0 where a trie begins ``[N]``.
        max_tokens: the most tokens of a trie; a longer sequence makes a trie of its own.

    Returns:
        ``shared_N`` with 0 where a part begins.
    """
    shared_N = shared_N.copy()
    new_N = lengths_N - shared_N
    starts = np.flatnonzero(shared_N == 0)
    sizes = np.add.reduceat(new_N, starts) if len(starts) else new_N[:0]
    stops = np.append(starts[1:], len(shared_N))
    for start, stop in zip(starts[sizes > max_tokens], stops[sizes > max_tokens], strict=True):
        size = 0
        for place in range(start, stop):
            size += int(new_N[place])
            if size > max_tokens and place > start:
                shared_N[place] = 0
                size = int(lengths_N[place])
    return shared_N


def scoring_packs(
    solutions: Sequence[Solution],
    encoded: Sequence[EncodedSolution],
    *,
    packing: Packing,
    max_tokens: int,
    row_tokens: int | None,
) -> list[tuple[list[int], npt.NDArray[np.int32]]]:
    """Deals solutions out to batches.

    Args:
        solutions: questions with steps.
        encoded: the same as tokens.
        packing: ``trees`` lays what solutions of a question have in common out once, ``rows`` does without.
        max_tokens: tokens of a batch; a longer solution has one of its own.
        row_tokens: tokens of one of its rows; ``None``: a batch is one row.

    Returns:
        For each batch the places of its solutions, and how many leading tokens each shares with the one before it.
    """
    if not solutions:
        return []
    lengths = np.array([len(each.input_ids) for each in encoded])
    order, shared_N = _in_order(solutions, encoded, lengths, packing)
    if packing == "trees" and row_tokens is not None:
        shared_N = cut_tries(lengths[order], shared_N, row_tokens)
    bounds = budget_bounds(lengths, max(max_tokens, int(lengths.max())), order, shared_N).tolist()
    # The first solution of a batch shares with none.
    shared_N[bounds[:-1]] = 0
    return [(order[start:stop].tolist(), shared_N[start:stop]) for start, stop in pairwise(bounds)]


def _in_order(
    solutions: Sequence[Solution],
    encoded: Sequence[EncodedSolution],
    lengths: npt.NDArray[np.int64],
    packing: Packing,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The order to score solutions in, and how much each shares with the one before it."""
    longest_first = np.argsort(-lengths, kind="stable")
    if packing == "rows":
        return longest_first, np.zeros(len(lengths), dtype=np.int32)
    of_question: dict[str, list[int]] = {}
    for i in longest_first.tolist():
        of_question.setdefault(solutions[i].question, []).append(i)
    orders, shared = [], []
    for members in of_question.values():
        by_tokens, shared_by_tokens = trie_order([np.array(encoded[i].input_ids) for i in members])
        orders.append(np.array(members)[by_tokens])
        shared.append(shared_by_tokens)
    return np.concatenate(orders), np.concatenate(shared)
