"""Groups solutions into batches to score: longest first, those of a question as trees, within a token budget.

Shape suffixes: N solutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from erprm.data.batching.tries import cut_tries, trie_order
from erprm.data.packing import Packing, budget_bounds
from erprm.steps import EncodedSolution, Solution


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
