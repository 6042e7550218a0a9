"""Gradients of rows that are added directly, against those that autograd makes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erprm.models.training.row_gradients import embedding_by_rows, rows_of, takes_rows

IDS = torch.tensor([[3, 1, 3], [0, 2, 1]])


def gradient_of(embedding: nn.Embedding, by_rows: bool, passes: int = 2) -> Tensor:
    """The gradient that two backward passes leave: a sum whose terms have different weights."""
    embedding.zero_grad()
    for number in range(passes):
        with embedding_by_rows(embedding) if by_rows else nullcontext():
            out = embedding(IDS)
        weights = torch.arange(out.numel(), dtype=out.dtype).view_as(out) + number
        (out * weights).sum().backward()
    assert embedding.weight.grad is not None
    return embedding.weight.grad


@pytest.mark.parametrize("padding", [None, 1])
def test_gradients_of_an_embedding_equal_autograds(padding: int | None) -> None:
    embedding = nn.Embedding(5, 2, padding_idx=padding, dtype=torch.float64)
    found = gradient_of(embedding, by_rows=True).clone()
    assert torch.equal(found, gradient_of(embedding, by_rows=False))


def test_by_hand() -> None:
    weight = nn.Parameter(torch.zeros(4, 1))
    rows_of(weight, torch.tensor([2, 0, 2])).mul(torch.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[10.0], [0.0], [101.0], [0.0]]


def test_rows_and_whole_weight_of_tied_embeddings_add_up() -> None:
    weight = nn.Parameter(torch.tensor([[1.0], [2.0]]))
    # d/dw of w[0] + (w[0] + w[1]) = [2, 1]
    (rows_of(weight, torch.tensor([0])).sum() + weight.sum()).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[2.0], [1.0]]


def gradient_of_tied(take: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient of a weight whose rows are read, and then judge what became of them."""
    torch.manual_seed(0)
    weight, ids, labels = nn.Parameter(torch.randn(7, 5)), torch.randint(7, (200,)), torch.tensor([1, 4])
    (take(weight, ids).tanh() @ take(weight, labels).T).square().sum().backward()
    assert weight.grad is not None
    return weight.grad


def test_a_tied_weight_gets_its_gradient_to_the_last_bit() -> None:
    assert torch.equal(gradient_of_tied(rows_of), gradient_of_tied(lambda weight, index: weight[index]))


def test_a_weight_is_left_to_autograd_where_somebody_waits_for_its_gradient_or_none_is_wanted() -> None:
    weight = nn.Parameter(torch.zeros(4, 1))
    assert takes_rows(weight)
    with torch.no_grad():
        assert not takes_rows(weight)
    assert not takes_rows(nn.Parameter(torch.zeros(4, 1), requires_grad=False))
    hook = weight.register_hook(lambda gradient: gradient)
    assert not takes_rows(weight)
    hook.remove()
    weight.register_post_accumulate_grad_hook(lambda parameter: None)
    assert not takes_rows(weight)


class Doubled(nn.Embedding):
    """Gives twice its rows, as Gemma's does."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name of torch)
        return 2 * F.embedding(input, self.weight)


@pytest.mark.parametrize(
    "embedding",
    [Doubled(5, 2), nn.Embedding(5, 2, max_norm=1.0), nn.Embedding(5, 2, scale_grad_by_freq=True)],
)
def test_embeddings_that_do_more_are_left_alone(embedding: nn.Embedding) -> None:
    with embedding_by_rows(embedding):
        assert "forward" not in vars(embedding)


def test_the_layer_is_itself_again_afterwards() -> None:
    embedding = nn.Embedding(5, 2)
    with embedding_by_rows(embedding):
        assert "forward" in vars(embedding)
    assert "forward" not in vars(embedding)
