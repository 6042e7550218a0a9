import math
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from erprm.data.packing import check_token_limits, pack_by_budget, pack_rows, pack_solutions
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
    input_ids, position_ids, starts = pack_rows([[9], [1, 2, 3], [4, 5], [6, 7]], row_tokens=5)
    assert input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 9, 0, 0]]
    assert position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert starts.tolist() == [7, 0, 3, 5]


def test_a_sequence_longer_than_a_row_has_a_row_of_its_own() -> None:
    input_ids, _, starts = pack_rows([[1], [2, 3, 4], [5]], row_tokens=2)
    assert input_ids.tolist() == [[2, 3, 4], [1, 5, 0]]
    assert starts.tolist() == [3, 0, 4]


def test_tags_are_indexed_in_the_flattened_rows() -> None:
    batch = pack_solutions([[1, 2], [3, 4, 5, 6]], [[1], [1, 3]], [labels(0.5), labels(NAN, 1.0)], row_tokens=4)
    assert batch.input_ids.tolist() == [[3, 4, 5, 6], [1, 2, 0, 0]]
    # In the order of the solutions given, wherever they came to lie.
    assert batch.tag_index.tolist() == [5, 3]
    assert batch.input_ids.flatten()[batch.tag_index].tolist() == [2, 6]
    assert batch.solution.tolist() == [0, 1]


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


def test_a_batch_is_closed_when_the_next_solution_does_not_fit() -> None:
    assert pack_by_budget([4, 3, 3, 10, 1], 10, [0, 1, 2, 3, 4]) == [[0, 1, 2], [3], [4]]
    assert pack_by_budget([4, 3, 3, 10, 1], 10, [4, 3, 2, 1, 0]) == [[4], [3], [2, 1, 0]]
    assert pack_by_budget([5, 5, 1], 10, [0, 1, 2]) == [[0, 1], [2]]
    assert pack_by_budget([], 10, []) == []


def test_a_solution_longer_than_a_batch_is_named() -> None:
    with pytest.raises(ValueError, match=r"solution 1 has 11 tokens, more than a batch holds \(max_tokens=10\)"):
        pack_by_budget([4, 11], 10, [0, 1])


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(30, 100), st.randoms(use_true_random=False))
def test_batches_hold_every_solution_once_in_order_and_within_the_budget(
    lengths: list[int], budget: int, random: Random
) -> None:
    order = list(range(len(lengths)))
    random.shuffle(order)
    packs = pack_by_budget(lengths, budget, order)
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
        ((0, None, 10), r"data\.max_length is 0; it must be in \[1, max_tokens=10\]"),
        ((11, None, 10), r"data\.max_length is 11; it must be in \[1, max_tokens=10\]"),
        ((5, 0, 10), r"data\.row_tokens is 0; it must be at least 1"),
    ],
)
def test_a_limit_out_of_range_is_named(limits: tuple[int, int | None, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_token_limits(*limits)
