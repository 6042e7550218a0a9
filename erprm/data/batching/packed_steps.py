"""Tokenised solutions with labels as a data set, whose items are packed batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from erprm.data.batching.sampler import SolutionGroups
from erprm.data.batching.tokenized import TokenizedRollouts
from erprm.data.batching.tries import cut_tries, shared_among
from erprm.data.packing import Packing, StepBatch, pack_solutions


class PackedSteps(Dataset[StepBatch]):
    """Labelled solutions; an index is the list of the solutions that share a batch."""

    def __init__(
        self,
        rollouts: TokenizedRollouts,
        labels: npt.NDArray[np.float32],
        members: npt.NDArray[np.int64],
        row_tokens: int | None = None,
        packing: Packing = "trees",
        counts: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Takes some of the solutions.

        Args:
            rollouts: tokenised solutions.
            labels: label of every step of ``rollouts``; NaN for none.
            members: which solutions belong to this data set.
            row_tokens: the most tokens of a row; ``None``: a batch is one row.
            packing: ``trees`` to lay what the solutions of a problem share out once, ``rows`` to do without.
            counts: sum of the completion rewards, and number of completions, of every step of ``rollouts``, if they are
                needed.
        """
        self.rollouts = rollouts
        self.labels = labels
        self.members = members
        self.counts = counts
        self.row_tokens = row_tokens
        self.groups = self._problem_groups() if packing == "trees" else None
        if self.groups is not None:
            self._place_in_groups = np.empty(len(members), dtype=np.int64)
            self._place_in_groups[self.groups.members] = np.arange(len(members))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each solution."""
        return self.rollouts.lengths[self.members]

    @property
    def step_labels(self) -> npt.NDArray[np.float32]:
        """Labels of the steps of all solutions in this set, steps without a label left out."""
        is_member = np.zeros(len(self.rollouts), dtype=bool)
        is_member[self.members] = True
        labels: npt.NDArray[np.float32] = self.labels[np.repeat(is_member, np.diff(self.rollouts.tag_offsets))]
        return labels[~np.isnan(labels)]

    def _problem_groups(self) -> SolutionGroups:
        data = self.rollouts
        number_here = np.full(len(data), -1)
        number_here[self.members] = np.arange(len(self.members))
        in_trie_order = number_here[data.trie_order]
        kept = in_trie_order >= 0
        members, shared = in_trie_order[kept], shared_among(kept, data.shared)
        if self.row_tokens is not None:
            shared = cut_tries(self.lengths[members], shared, self.row_tokens)
        problem = data.problem[self.members[members]]
        bounds = np.flatnonzero(np.diff(problem, prepend=-1, append=-1))
        groups = SolutionGroups(members, bounds, shared)
        # In the order of their first solutions, whatever was left out.
        by_first_member = np.argsort(np.minimum.reduceat(members, bounds[:-1]))
        places = groups.in_order(by_first_member)
        offsets = np.concatenate([[0], np.cumsum(np.diff(bounds)[by_first_member])])
        return SolutionGroups(members[places], offsets, shared[places])

    def _shared(self, index: Sequence[int]) -> npt.NDArray[np.int32] | None:
        """Leading tokens that each of some solutions shares with the one before it, its neighbour in trie order."""
        if self.groups is None:
            return None
        places = self._place_in_groups[index]
        follows = np.diff(places, prepend=-2) == 1
        return np.where(follows, self.groups.shared[places], 0)

    def record_ids(self, index: Sequence[int]) -> list[str]:
        """Names of some solutions, for messages."""
        data = self.rollouts
        return [f"{data.problem_ids[data.problem[i]]} (row {data.row[i]})" for i in self.members[index]]

    def __getitem__(self, index: list[int] | int) -> StepBatch:
        data = self.rollouts
        index = [index] if isinstance(index, int) else index
        chosen = self.members[index]
        tokens = [data.tokens[data.token_offsets[i] : data.token_offsets[i + 1]] for i in chosen]
        steps = [slice(data.tag_offsets[i], data.tag_offsets[i + 1]) for i in chosen]
        return pack_solutions(
            tokens,
            [data.tags[span] for span in steps],
            [self.labels[span] for span in steps],
            [int(data.problem[i]) for i in chosen],
            self.record_ids(index),
            self.row_tokens,
            self._shared(index),
            None if self.counts is None else [self.counts[span] for span in steps],
        )
