import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from erprm.data.batching.tries import cut_tries, trie_order
from erprm.data.packing import budget_bounds, check_token_limits, pack_rows, pack_solutions
from erprm.steps import Solution, StepEncoder
from tests.tiny import make_llama

NAN = math.nan


def labels(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, dtype=np.float32)


# One row -----------------------------------------------------------------------------------------------------------


def test_solutions_lie_one_after_another_with_restarting_positions() -> None:
    batch = pack_solutions(
        [[5, 6, 7, 8], [9, 4], [3, 2, 1]],
        [[1, 3], [1], [2]],
        [labels(0.25, 1.0), labels(0.0), labels(0.5)],
        problems=[7, 4, 7],
        record_ids=["a", "b", "c"],
    )
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 4, 3, 2, 1]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2]]
    assert batch.tag_index.tolist() == [1, 3, 5, 8]
    assert batch.labels.tolist() == [0.25, 1.0, 0.0, 0.5]
    assert batch.solution.tolist() == [0, 0, 1, 2]
    assert batch.problem.tolist() == [7, 7, 4, 7]
    assert batch.record_ids == ["a", "b", "c"]
    integers = (batch.input_ids, batch.position_ids, batch.tag_index, batch.solution, batch.problem)
    assert {tensor.dtype for tensor in integers} == {torch.int64}
    assert batch.labels.dtype == torch.float32


def test_a_step_without_a_label_stays_in_the_row_and_is_not_scored() -> None:
    batch = pack_solutions([[5, 6, 7, 8], [9, 4]], [[1, 3], [1]], [labels(NAN, 0.5), labels(1.0)], problems=[2, 3])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 4]]
    assert batch.tag_index.tolist() == [3, 5]
    assert batch.labels.tolist() == [0.5, 1.0]
    assert batch.solution.tolist() == [0, 1]
    assert batch.problem.tolist() == [2, 3]


def test_counts_of_steps_without_a_label_are_left_out() -> None:
    counts = [np.array([[1, 4], [2, 2]], dtype=np.float32), np.array([[0, 1]], dtype=np.float32)]
    batch = pack_solutions([[5, 6, 7, 8], [9, 4]], [[1, 3], [1]], [labels(NAN, 0.5), labels(1.0)], counts=counts)
    assert batch.counts is not None
    assert batch.counts.tolist() == [[2, 2], [0, 1]]
    assert pack_solutions([[5, 6]], [[1]], [labels(1.0)]).counts is None


def test_without_labels_every_tag_is_scored_and_each_solution_is_its_own_problem() -> None:
    batch = pack_solutions([[5, 6, 7, 8], [9, 4]], [[1, 3], [1]])
    assert batch.tag_index.tolist() == [1, 3, 5]
    assert batch.labels.isnan().tolist() == [True] * 3
    assert batch.problem.tolist() == [0, 0, 1]
    assert batch.record_ids == []


def test_packing_copies_what_it_is_given() -> None:
    tokens = np.array([5, 6], dtype=np.int32)
    tokens.flags.writeable = False  # a memory-mapped file
    batch = pack_solutions([tokens], [np.array([1], dtype=np.int32)], [labels(0.5)])
    batch.input_ids[0, 0] = 0
    assert tokens.tolist() == [5, 6]


# Several rows ------------------------------------------------------------------------------------------------------


def test_rows_are_filled_longest_first_and_padded_to_the_fullest() -> None:
    # Lengths 1, 3, 2, 2 in rows of 5: [3, 2] and [2, 1], so width 5 and two tokens of padding.
    rows, paths = pack_rows([[9], [1, 2, 3], [4, 5], [6, 7]], row_tokens=5)
    assert rows.input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 9, 0, 0]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert rows.subtree_end.tolist() == [[3, 3, 3, 5, 5], [2, 2, 3, 4, 5]]
    assert [path.tolist() for path in paths] == [[7], [0, 1, 2], [3, 4], [5, 6]]
    assert rows.layout == "rows"


def test_a_sequence_longer_than_a_row_has_a_row_of_its_own() -> None:
    rows, paths = pack_rows([[1], [2, 3, 4], [5]], row_tokens=2)
    assert rows.input_ids.tolist() == [[2, 3, 4], [1, 5, 0]]
    assert [path.tolist() for path in paths] == [[3], [0, 1, 2], [4]]


def test_tags_are_indexed_in_the_flattened_rows() -> None:
    batch = pack_solutions([[1, 2], [3, 4, 5, 6]], [[1], [1, 3]], [labels(0.5), labels(NAN, 1.0)], row_tokens=4)
    assert batch.input_ids.tolist() == [[3, 4, 5, 6], [1, 2, 0, 0]]
    # In the order of the solutions given, wherever they came to lie.
    assert batch.tag_index.tolist() == [5, 3]
    assert batch.input_ids.flatten()[batch.tag_index].tolist() == [2, 6]
    assert batch.solution.tolist() == [0, 1]


# Trees -------------------------------------------------------------------------------------------------------------

# Q a b, Q a c d, Q e, then P f, with letters for tokens.
TREE = [[1, 11, 12], [1, 11, 13, 14], [1, 15], [2, 16]]
TREE_SHARED = np.array([0, 2, 1, 0])


def test_shared_tokens_lie_once_in_depth_first_order() -> None:
    rows, paths = pack_rows(TREE, shared=TREE_SHARED)
    assert rows.input_ids.tolist() == [[1, 11, 12, 13, 14, 15, 2, 16]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 2, 3, 1, 0, 1]]
    assert rows.subtree_end.tolist() == [[6, 5, 3, 5, 5, 6, 8, 8]]
    assert [path.tolist() for path in paths] == [[0, 1, 2], [0, 1, 3, 4], [0, 5], [6, 7]]
    assert rows.layout == "trees"


def test_trees_fill_rows_largest_first_and_padding_sees_itself_alone() -> None:
    rows, paths = pack_rows([[2, 16], *TREE[:3]], row_tokens=6, shared=np.array([0, 0, 2, 1]))
    assert rows.input_ids.tolist() == [[1, 11, 12, 13, 14, 15], [2, 16, 0, 0, 0, 0]]
    assert rows.subtree_end.tolist() == [[6, 5, 3, 5, 5, 6], [2, 2, 3, 4, 5, 6]]
    assert [path.tolist() for path in paths] == [[6, 7], [0, 1, 2], [0, 1, 3, 4], [0, 5]]


def test_an_equal_solution_and_one_that_goes_on_from_another_add_only_what_is_new() -> None:
    rows, paths = pack_rows([[1, 2], [1, 2], [1, 2, 3]], shared=np.array([0, 2, 2]))
    assert rows.input_ids.tolist() == [[1, 2, 3]]
    assert rows.subtree_end.tolist() == [[3, 3, 3]]
    assert [path.tolist() for path in paths] == [[0, 1], [0, 1], [0, 1, 2]]


def test_a_shared_tag_keeps_the_label_of_each_solution() -> None:
    batch = pack_solutions(
        [[1, 9, 3, 9], [1, 9, 4, 9]],
        [[1, 3], [1, 3]],
        [labels(0.25, 0.5), labels(0.75, 1.0)],
        shared=np.array([0, 2]),
    )
    assert batch.input_ids.tolist() == [[1, 9, 3, 9, 4, 9]]
    assert batch.tag_index.tolist() == [1, 3, 1, 5]
    assert batch.labels.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert batch.solution.tolist() == [0, 0, 1, 1]


@given(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=6), min_size=1, max_size=8), st.integers(1, 20))
def test_a_token_of_a_tree_lies_in_the_subtrees_of_its_own_path_alone(
    sequences: list[list[int]], row_tokens: int
) -> None:
    order, shared = trie_order([np.array(sequence) for sequence in sequences])
    ordered = [sequences[i] for i in order]
    shared = cut_tries(np.array([len(sequence) for sequence in ordered]), shared, row_tokens)
    rows, paths = pack_rows(ordered, row_tokens, shared)
    width = rows.input_ids.shape[1]
    ends = rows.subtree_end.flatten().tolist()
    for sequence, path in zip(ordered, paths, strict=True):
        assert rows.input_ids.flatten()[path].tolist() == sequence
        assert rows.position_ids.flatten()[path].tolist() == list(range(len(sequence)))
        last = int(path[-1])
        row_start = last - last % width
        seen = [j for j in range(row_start, last + 1) if last < row_start + ends[j]]
        assert seen == path.tolist()


def test_the_layout_tells_one_solution_a_row_from_several() -> None:
    assert pack_rows([[1, 2], [3]], row_tokens=1)[0].layout == "single"
    assert pack_rows([[1, 2]])[0].layout == "single"
    assert pack_rows([[1, 2], [3]])[0].layout == "rows"


# In a model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_tokens", [None, 45])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_packed_solutions_have_the_logits_of_separate_forwards(
    encoder: StepEncoder, dtype: torch.dtype, tolerance: float, row_tokens: int | None
) -> None:
    solutions = [
        Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
        Solution("q", ["a"]),
        Solution("What is 15?", ["Step 1: 15", "Step 2: 15 = 15.", "Step 3: The answer is: 15"]),
    ]
    encoded = [encoder.encode(solution) for solution in solutions]
    batch = pack_solutions([e.input_ids for e in encoded], [e.tag_positions for e in encoded], row_tokens=row_tokens)
    assert batch.input_ids.shape[0] == (1 if row_tokens is None else 2)
    model = make_llama(len(encoder.tokenizer)).to(dtype)
    with torch.no_grad():
        packed = model(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
        apart = [model(torch.tensor([e.input_ids])).logits[0, e.tag_positions] for e in encoded]
    torch.testing.assert_close(packed.flatten(0, 1)[batch.tag_index], torch.cat(apart), rtol=0, atol=tolerance)
    # The test could fail: without restarting positions the second and third solution read the first.
    with torch.no_grad():
        joined = model(input_ids=batch.input_ids, use_cache=False).logits
    assert (joined.flatten(0, 1)[batch.tag_index] - torch.cat(apart)).abs().max() > 1e-3


# Batches within a budget -------------------------------------------------------------------------------------------


def batches(lengths: list[int], max_tokens: int, order: list[int], shared: list[int] | None = None) -> list[list[int]]:
    bounds = budget_bounds(lengths, max_tokens, order, None if shared is None else np.array(shared))
    return [order[start:stop] for start, stop in pairwise(bounds.tolist())]


def test_a_batch_is_closed_when_the_next_solution_does_not_fit() -> None:
    assert batches([4, 3, 3, 10, 1], 10, [0, 1, 2, 3, 4]) == [[0, 1, 2], [3], [4]]
    assert batches([4, 3, 3, 10, 1], 10, [4, 3, 2, 1, 0]) == [[4], [3], [2, 1, 0]]
    assert batches([5, 5, 1], 10, [0, 1, 2]) == [[0, 1], [2]]
    assert batches([], 10, []) == []


def test_what_is_shared_counts_once_in_a_batch_and_again_in_the_next() -> None:
    # New tokens 6, 2, 2 fill a batch; the fourth would bring 1 more. In its own batch it counts whole, 5, and the
    # next tree of 5 fits beside it.
    assert batches([6, 5, 5, 5, 5, 1], 10, [0, 1, 2, 3, 4, 5], [0, 3, 3, 4, 0, 0]) == [[0, 1, 2], [3, 4], [5]]


def test_a_solution_longer_than_a_batch_is_named() -> None:
    with pytest.raises(ValueError, match=r"solution 1 has 11 tokens, more than a batch holds \(max_tokens=10\)"):
        budget_bounds([4, 11], 10, [0, 1])
    with pytest.raises(ValueError, match=r"solution 2 has 12 tokens"):
        budget_bounds([4, 11, 12], 10, [0, 2, 1])


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(30, 100), st.randoms(use_true_random=False))
def test_batches_hold_every_solution_once_in_order_and_within_the_budget(
    lengths: list[int], budget: int, random: Random
) -> None:
    order = list(range(len(lengths)))
    random.shuffle(order)
    packs = batches(lengths, budget, order)
    assert [i for pack in packs for i in pack] == order
    assert all(sum(lengths[i] for i in pack) <= budget for pack in packs)
    for pack, following in pairwise(packs):
        assert sum(lengths[i] for i in pack) + lengths[following[0]] > budget


# Limits ------------------------------------------------------------------------------------------------------------


def test_limits_that_fit_each_other_are_accepted() -> None:
    check_token_limits(512, None, 512)
    check_token_limits(1, 1, 4096)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((0, None, 10), r"data\.max_length is 0; it must be in \[1, data\.max_tokens=10\]"),
        ((11, None, 10), r"data\.max_length is 11; it must be in \[1, data\.max_tokens=10\]"),
        ((5, 0, 10), r"data\.row_tokens is 0; it must be at least 1"),
    ],
)
def test_a_limit_out_of_range_is_named(limits: tuple[int, int | None, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_token_limits(*limits)
