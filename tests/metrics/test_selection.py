import pytest
import torch

from erprm.metrics import (
    BestOfNAccuracy,
    MajorityVoteAccuracy,
    PassAtN,
    WeightedVoteAccuracy,
    best_of_n_accuracy,
    majority_vote_accuracy,
    pass_at_n,
    weighted_vote_accuracy,
)

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.rand(7, 6, generator=GENERATOR)
ANSWERS = torch.randint(-1, 3, (7, 6), generator=GENERATOR)
CORRECT = ANSWERS == 0
VALID = torch.ones(7, 6, dtype=torch.bool)
VALID[2, 4:] = False


def test_updates_of_unequal_size_give_the_mean_over_problems() -> None:
    best, voted, passed = BestOfNAccuracy(3), MajorityVoteAccuracy(3), PassAtN(3)
    for rows in (slice(0, 2), slice(2, 3), slice(3, 7)):
        best.update(SCORES[rows], CORRECT[rows], VALID[rows])
        voted.update(ANSWERS[rows], CORRECT[rows], VALID[rows])
        passed.update(CORRECT[rows], VALID[rows])
    assert best.compute().item() == pytest.approx(best_of_n_accuracy(SCORES, CORRECT, 3, VALID).item())
    assert voted.compute().item() == pytest.approx(majority_vote_accuracy(ANSWERS, CORRECT, 3, VALID).item())
    assert passed.compute().item() == pytest.approx(pass_at_n(CORRECT, 3, VALID).item())


def test_weighted_vote_passes_on_draws_and_seed() -> None:
    metric = WeightedVoteAccuracy(3, n_draws=5, seed=11)
    metric.update(SCORES, ANSWERS, CORRECT, VALID)
    expected = weighted_vote_accuracy(SCORES, ANSWERS, CORRECT, 3, VALID, n_draws=5, seed=11)
    assert metric.compute().item() == pytest.approx(expected.item())
    assert metric.compute() != weighted_vote_accuracy(SCORES, ANSWERS, CORRECT, 3, VALID, n_draws=5, seed=12)


def test_forward_returns_the_batch_and_keeps_the_whole() -> None:
    metric = BestOfNAccuracy(n=1)
    assert metric(torch.zeros(1, 2), torch.ones(1, 2)).item() == 1
    assert metric(torch.zeros(3, 2), torch.zeros(3, 2)).item() == 0
    assert metric.compute().item() == 0.25


def test_reset_forgets() -> None:
    metric = PassAtN(n=1)
    metric.update(torch.ones(1, 2))
    metric.reset()
    metric.update(torch.zeros(1, 2))
    assert metric.compute().item() == 0


def test_n_below_one_is_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="n must be at least 1, found 0"):
        MajorityVoteAccuracy(n=0)
