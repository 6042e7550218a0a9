import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from erprm.data.batching.tries import cut_tries, shared_among, shared_prefix, trie_order

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8)


def arrays(*sequences: list[int]) -> list[npt.NDArray[np.int32]]:
    return [np.array(sequence, dtype=np.int32) for sequence in sequences]


def prefixes(sequences: list[list[int]]) -> set[tuple[int, ...]]:
    """The nodes of the trie, by definition."""
    return {tuple(sequence[: n + 1]) for sequence in sequences for n in range(len(sequence))}


def test_the_shared_prefix_ends_at_the_first_difference() -> None:
    assert shared_prefix(*arrays([1, 2, 3], [1, 2, 4])) == 2
    assert shared_prefix(*arrays([1, 2], [1, 2, 4])) == 2
    assert shared_prefix(*arrays([1, 2, 4], [1, 2, 4])) == 3
    assert shared_prefix(*arrays([1], [2])) == 0
    assert shared_prefix(*arrays([], [2])) == 0


def test_sequences_are_ordered_by_their_tokens_as_numbers() -> None:
    order, shared = trie_order(arrays([1, 300, 7], [1, 2, 70000], [1, 2], [9], [1, 2, 5]))
    assert order.tolist() == [2, 4, 1, 0, 3]
    assert shared.tolist() == [0, 2, 2, 1, 0]


def test_equal_sequences_keep_their_order() -> None:
    order, shared = trie_order(arrays([5, 6], [5, 6], [5]))
    assert order.tolist() == [2, 0, 1]
    assert shared.tolist() == [0, 1, 2]


@given(SEQUENCES)
def test_new_tokens_are_as_many_as_the_trie_has_nodes(sequences: list[list[int]]) -> None:
    order, shared = trie_order(arrays(*sequences))
    assert sorted(order) == list(range(len(sequences)))
    assert sum(map(len, sequences)) - shared.sum() == len(prefixes(sequences))


@given(SEQUENCES, st.integers(0, 255))
def test_what_is_left_shares_as_much_as_it_would_alone(sequences: list[list[int]], chosen: int) -> None:
    order, shared = trie_order(arrays(*sequences))
    kept = np.array([bool(chosen >> i & 1) for i in range(len(sequences))])
    left = [sequences[i] for i in order[kept]]
    assert shared_among(kept, shared).tolist() == (trie_order(arrays(*left))[1].tolist() if left else [])


def test_a_trie_is_cut_where_the_next_sequence_does_not_fit() -> None:
    lengths = np.array([4, 4, 4, 4, 9, 2])
    shared = np.array([0, 3, 3, 3, 0, 0], dtype=np.int32)
    # 4 + 1 fit 5, the third would make 6; a sequence longer than the limit stays whole.
    assert cut_tries(lengths, shared, 5).tolist() == [0, 3, 0, 3, 0, 0]
    assert cut_tries(lengths, shared, 7).tolist() == shared.tolist()
    assert cut_tries(lengths, shared, 1).tolist() == [0] * 6
    assert shared.tolist() == [0, 3, 3, 3, 0, 0]
