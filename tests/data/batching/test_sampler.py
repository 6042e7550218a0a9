import logging
from collections import Counter

import lightning as L
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from erprm.data.batching.sampler import SolutionGroups, TokenBudgetSampler, replicas


class Indices(Dataset[int]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


def sampler(
    lengths: list[int],
    max_tokens: int,
    ranks: int = 1,
    rank: int = 0,
    *,
    groups: SolutionGroups | None = None,
    shuffle: bool = True,
    seed: int = 0,
) -> TokenBudgetSampler:
    return TokenBudgetSampler(
        Indices(len(lengths)),
        lengths,
        max_tokens,
        groups=groups,
        num_replicas=ranks,
        rank=rank,
        shuffle=shuffle,
        seed=seed,
    )


LENGTHS = [3, 7, 1, 4, 9, 2, 2, 8, 5, 6] * 5


def test_without_shuffling_batches_follow_the_order_of_the_solutions() -> None:
    assert list(sampler([4, 3, 3, 10, 1], 10, shuffle=False)) == [[0, 1, 2], [3], [4]]


def test_ranks_take_turns_and_the_fullest_batch_is_split_for_equal_numbers() -> None:
    # Composed are [0, 1, 2], [3], [4]; two ranks need an even number.
    assert list(sampler([4, 3, 3, 10, 1], 10, 2, 0, shuffle=False)) == [[0], [3]]
    assert list(sampler([4, 3, 3, 10, 1], 10, 2, 1, shuffle=False)) == [[1, 2], [4]]


def test_batches_and_their_order_stay_what_they_have_always_been() -> None:
    # Runs that were started before, and published ones, depend on every index below.
    lengths = [3, 7, 1, 4, 9, 2, 2, 8, 5, 6, 3, 1]
    alone = SolutionGroups(np.arange(12), np.arange(13), np.zeros(12, dtype=np.int32))
    for groups in (None, alone):
        expected = {
            (1, 0, 0): [[4, 11, 3], [10, 9, 1, 6], [7, 2, 0, 8, 5]],
            (1, 0, 1): [[7, 2, 0, 8, 5], [4, 11, 3], [10, 9, 1, 6]],
            (2, 0, 0): [[7, 2], [0, 8, 5]],
            (2, 1, 0): [[4, 11, 3], [10, 9, 1, 6]],
            (2, 0, 1): [[0, 8, 5], [10, 9, 1, 6]],
            (2, 1, 1): [[4, 11, 3], [7, 2]],
        }
        for (ranks, rank, epoch), batches in expected.items():
            one = sampler(lengths, 20, ranks, rank, seed=3, groups=groups)
            one.set_epoch(epoch)
            assert list(one) == batches


def test_a_group_stays_together_and_what_it_shares_counts_once() -> None:
    # Solutions 0, 2 and 4 of four tokens share three of them; 1 and 3 are alone.
    groups = SolutionGroups(np.array([0, 2, 4, 1, 3]), np.array([0, 3, 4, 5]), np.array([0, 3, 3, 0, 0]))
    assert list(sampler([4, 4, 4, 4, 4], 6, shuffle=False, groups=groups)) == [[0, 2, 4], [1], [3]]
    # Without room for the third it begins the next batch, whole.
    assert list(sampler([4, 4, 4, 4, 4], 5, shuffle=False, groups=groups)) == [[0, 2], [4], [1], [3]]
    shuffled = {tuple(batch) for seed in range(9) for batch in sampler([4] * 5, 14, seed=seed, groups=groups)}
    assert all((0 in batch) == (2 in batch) == (4 in batch) for batch in shuffled)
    assert len(shuffled) > 3


@given(st.lists(st.integers(1, 10), min_size=4, max_size=60), st.integers(10, 60), st.integers(1, 4), st.booleans())
def test_every_solution_is_seen_once_an_epoch_over_all_ranks(
    lengths: list[int], budget: int, ranks: int, shuffle: bool
) -> None:
    samplers = [sampler(lengths, budget, ranks, rank, shuffle=shuffle) for rank in range(ranks)]
    for epoch in range(2):
        for one in samplers:
            one.set_epoch(epoch)
        batches = [list(one) for one in samplers]
        assert len({len(of_rank) for of_rank in batches}) == 1
        assert [len(one) for one in samplers] == [len(of_rank) for of_rank in batches]
        flat = [batch for of_rank in batches for batch in of_rank]
        assert all(batch and sum(lengths[i] for i in batch) <= budget for batch in flat)
        seen = Counter(i for batch in flat for i in batch)
        assert set(seen) == set(range(len(lengths)))
        # Solutions that each fill a batch cannot always be shared out evenly.
        if any(len(batch) > 1 for batch in flat) or len(lengths) % ranks == 0:
            assert set(seen.values()) == {1}
        else:
            assert seen.total() == -(-len(lengths) // ranks) * ranks


def test_solutions_that_each_fill_a_batch_are_repeated_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        samplers = [sampler([10] * 5, 10, 4, rank) for rank in range(4)]
    assert [len(one) for one in samplers] == [2, 2, 2, 2]
    seen = Counter(i for one in samplers for batch in one for i in batch)
    assert sorted(seen.values()) == [1, 1, 2, 2, 2]
    assert caplog.messages[0] == (
        "5 batches of one solution each cannot be shared out evenly among 4 ranks: 3 of them will be seen twice in "
        "each epoch"
    )


def test_an_epoch_is_reshuffled_the_same_way_each_time() -> None:
    orders = []
    for _ in range(2):
        one = sampler(LENGTHS, 20)
        for epoch in (0, 1, 0):
            one.set_epoch(epoch)
            orders.append(list(one))
    first, second, again = orders[:3]
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second)  # the same batches
    assert orders[3:] == orders[:3]


def test_another_seed_composes_other_batches() -> None:
    assert sorted(sampler(LENGTHS, 20, seed=0)) != sorted(sampler(LENGTHS, 20, seed=1))


def test_a_fixed_order_does_not_change_with_the_epoch() -> None:
    one = sampler(LENGTHS, 20, shuffle=False)
    first = list(one)
    one.set_epoch(5)
    assert list(one) == first


def test_fewer_solutions_than_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 solution\(s\) cannot be divided among 2 ranks"):
        sampler([3], 10, 2)


def test_a_solution_longer_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"solution 1 has 11 tokens, more than a batch holds \(max_tokens=10\)"):
        sampler([3, 11], 10, shuffle=False)


def test_the_trainer_says_how_many_ranks_share_the_batches() -> None:
    assert replicas(None) == (1, 0)
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    assert replicas(L.Trainer(devices=1, **settings)) == (1, 0)  # type: ignore[arg-type]
    assert replicas(L.Trainer(devices=2, strategy="ddp", **settings)) == (2, 0)  # type: ignore[arg-type]
