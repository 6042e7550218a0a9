"""The beta-binomial loss against Pólya's urn, whose probabilities are products of fractions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from erprm.losses import beta_binomial_losses, step_beliefs, step_losses


def logits_of(alpha: float, beta: float) -> Tensor:
    """The two logits of a belief: their difference is ln(alpha / beta), softplus of their mean is alpha + beta."""
    mean, half = math.log(math.expm1(alpha + beta)), math.log(alpha / beta) / 2
    return torch.tensor([[mean + half, mean - half]], dtype=torch.float64)


def surprise(logits_S2: Tensor, successes_S: list[float], trials_S: list[float]) -> Tensor:
    """What the loss adds to the cross-entropy, without its weight of 0.1."""
    labels_S = torch.linspace(0.1, 0.9, len(logits_S2), dtype=torch.float64)
    losses_S = beta_binomial_losses(logits_S2, labels_S, successes_S, trials_S)
    return (losses_S - step_losses(logits_S2, labels_S)) / 0.1


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.0), (0.25, 0.25), (12.0, 3.0)])
def test_a_belief_is_read_from_the_difference_and_the_mean_of_the_logits(alpha: float, beta: float) -> None:
    found = [float(parameter) for parameter in step_beliefs(logits_of(alpha, beta))]
    assert found == pytest.approx([alpha, beta], abs=1e-12)


def test_under_a_uniform_belief_every_count_is_as_likely() -> None:
    trials = torch.tensor([1.0, 2.0, 2.0, 2.0, 16.0], dtype=torch.float64)
    found = surprise(logits_of(1.0, 1.0).expand(5, 2), [0.0, 0.0, 1.0, 2.0, 5.0], trials.tolist())
    torch.testing.assert_close(found, (trials + 1).log(), atol=1e-12, rtol=0.0)


def test_counts_are_as_likely_as_draws_from_polyas_urn() -> None:
    # One ball of the right colour and two others; each ball drawn goes back with another of its colour.
    expected = [2 / 3 * 3 / 4, 2 * 1 / 3 * 2 / 4, 1 / 3 * 2 / 4, 3 * 1 / 3 * 2 / 4 * 2 / 5]
    found = surprise(logits_of(1.0, 2.0).expand(4, 2), [0.0, 1.0, 2.0, 2.0], [2.0, 2.0, 2.0, 3.0])
    assert (-found).exp().tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 5.0), (40.0, 2.0)])
def test_the_likelihoods_of_all_counts_sum_to_one(alpha: float, beta: float) -> None:
    found = surprise(logits_of(alpha, beta).expand(17, 2), list(map(float, range(17))), [16.0] * 17)
    assert float((-found).exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_float32_is_as_good_as_float64() -> None:
    logits = torch.cat([logits_of(a, b) for a, b in ((0.01, 0.02), (1.0, 2.0), (60.0, 3.0))])
    counts = [3.0, 2.0, 15.0], [16.0, 2.0, 16.0]
    single = beta_binomial_losses(logits.float(), [0.2, 1.0, 0.9], *counts)
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), beta_binomial_losses(logits, [0.2, 1.0, 0.9], *counts), atol=1e-4, rtol=0
    )


LABELS, SUCCESSES, TRIALS = [0.25, 1.0, 0.7, 0.0], [4.0, 2.0, 3.0, 0.0], [16.0, 2.0, 4.0, 1.0]
LOGITS = [[2.0, 1.0], [0.5, -0.5], [3.0, 6.0], [-2.0, 0.3]]


def gradient(loss: str) -> Tensor:
    logits_S2 = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    if loss == "two_way":
        losses_S = step_losses(logits_S2, LABELS)
    else:
        losses_S = beta_binomial_losses(logits_S2, LABELS, SUCCESSES, TRIALS)
    losses_S.sum().backward()
    assert logits_S2.grad is not None
    return logits_S2.grad


def test_the_gradient_in_the_difference_of_the_logits_is_that_of_two_way() -> None:
    own, expected = gradient("beta_binomial"), gradient("two_way")
    torch.testing.assert_close((own[:, 0] - own[:, 1]) / 2, expected[:, 0], atol=1e-6, rtol=0.0)
    # Their sum moves too, but for the step with one completion.
    assert (own.sum(1).abs() > 1e-4).tolist() == [True, True, True, False]
    torch.testing.assert_close(own[3], expected[3], atol=1e-6, rtol=0.0)


def test_the_sum_of_the_logits_follows_how_much_counts_differ_from_their_mean() -> None:
    logits_S2 = torch.zeros(3, 2, requires_grad=True)
    beta_binomial_losses(logits_S2, [0.5] * 3, [8.0, 0.0, 16.0], [16.0] * 3).sum().backward()
    assert logits_S2.grad is not None
    of_half, of_none, of_all = logits_S2.grad.sum(1).tolist()
    assert of_half < 0 < of_none == pytest.approx(of_all)


@pytest.mark.parametrize("logits", [[200.0, -200.0], [-200.0, 200.0], [-300.0, -300.0], [5000.0, 5000.0]])
def test_extreme_logits_leave_loss_and_gradient_finite(logits: list[float]) -> None:
    logits_S2 = torch.tensor([logits, logits], requires_grad=True)
    losses_S = beta_binomial_losses(logits_S2, [0.5, 0.5], [0.0, 8.0], [16.0, 16.0])
    losses_S.sum().backward()
    assert logits_S2.grad is not None
    assert bool(losses_S.isfinite().all())
    assert bool(logits_S2.grad.isfinite().all())
