"""Losses of next tokens that are computed some places at a time, against those of all logits at once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from erprm.data.policy import PackedSamples, PolicyBatch, PolicySample
from erprm.models.logits import cross_entropy_at, logits_at
from tests.tiny import make_llama

VOCABULARY, PLACES = 997, 40


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, list | tuple) else [result]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return result


def samples() -> PolicyBatch:
    tokens = torch.Generator().manual_seed(0)
    ids = [torch.randint(2, VOCABULARY, (PLACES // 2 + 3,), generator=tokens).tolist() for _ in range(2)]
    return PackedSamples([PolicySample(each, 3, "a sample") for each in ids])[[0, 1]]


def losses_and_gradients(model: Any, chunk: int | None, temperature: float = 1.0) -> tuple[Tensor, list[Tensor]]:
    """Losses, and the gradients of their sum with different weights; of all logits at once without a ``chunk``."""
    batch = samples()
    model.zero_grad()
    if chunk is None:
        logits_SV = logits_at(model, batch, batch.predict_index) / temperature
        losses_S = F.cross_entropy(logits_SV, batch.targets, reduction="none")
    else:
        losses_S = cross_entropy_at(
            model, batch, batch.predict_index, batch.targets, temperature=temperature, logits_at_once=chunk * VOCABULARY
        )
    (losses_S * torch.linspace(-1.0, 2.0, len(losses_S))).sum().backward()
    return losses_S.detach(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("chunk", [1, 7, 20, PLACES, 1000])
@pytest.mark.parametrize("tie", [True, False])
def test_losses_and_gradients_equal_those_of_all_logits_at_once(chunk: int, tie: bool) -> None:
    model = make_llama(VOCABULARY, tie_word_embeddings=tie).train()
    losses, gradients = losses_and_gradients(model, chunk)
    all_losses, all_gradients = losses_and_gradients(model, None)
    assert len(losses) == PLACES
    torch.testing.assert_close(losses, all_losses, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients, all_gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, PLACES])
def test_losses_in_chunks_are_the_plain_cross_entropy_with_the_prompts_as_ignored_labels(chunk: int) -> None:
    model, batch = make_llama(VOCABULARY).train(), samples()
    labels = torch.full((batch.input_ids.numel(),), -100)
    labels[batch.predict_index] = batch.targets
    hidden = logits_at(model, batch, torch.arange(len(labels)))
    plain = F.cross_entropy(hidden, labels, ignore_index=-100)
    plain.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    found = cross_entropy_at(model, batch, batch.predict_index, batch.targets, logits_at_once=chunk * VOCABULARY).mean()
    found.backward()
    assert (labels == -100).sum() == len(labels) - PLACES > 0
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=0.0)
    torch.testing.assert_close([p.grad for p in model.parameters()], expected, atol=1e-5, rtol=0.0)


def test_a_batch_that_fits_gives_the_losses_of_all_logits_to_the_last_bit() -> None:
    model = make_llama(VOCABULARY).train()
    assert torch.equal(losses_and_gradients(model, PLACES)[0], losses_and_gradients(model, None)[0])


def test_temperature_divides_the_logits() -> None:
    model = make_llama(VOCABULARY)
    cold, whole = losses_and_gradients(model, 7, temperature=0.5)[0], losses_and_gradients(model, None, 0.5)[0]
    torch.testing.assert_close(cold, whole, atol=1e-5, rtol=1e-5)


def test_no_tensor_of_all_places_by_the_vocabulary_exists() -> None:
    model = make_llama(VOCABULARY).train()
    weights = VOCABULARY * model.config.hidden_size
    with LargestTensor() as whole:
        losses_and_gradients(model, None)
    assert whole.numel == PLACES * VOCABULARY > weights
    with LargestTensor() as largest:
        losses_and_gradients(model, 4)
    assert largest.numel == weights


def test_the_head_is_itself_again_afterwards() -> None:
    model = make_llama(VOCABULARY)
    losses_and_gradients(model, 4)
    assert "forward" not in vars(model.lm_head)
    assert model.lm_head(torch.zeros(1, model.config.hidden_size)).shape == (1, VOCABULARY)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_logits_of_two_tokens_differ_by_what_the_output_layer_says_and_not_by_steps_of_bfloat16(
    weights: torch.dtype,
) -> None:
    model = make_llama(VOCABULARY)
    with torch.no_grad():
        model.lm_head.weight[[3, 5]] = 100.0
        model.lm_head.weight[5, 0] = 101.0  # so the logits, some hundreds, differ by the first number of the state

    def differences() -> Tensor:
        logits_S2 = logits_at(model, samples(), samples().predict_index, tokens=[3, 5])
        return (logits_S2[:, 1] - logits_S2[:, 0]).detach()

    expected = differences()
    with torch.autocast("cpu", torch.bfloat16, enabled=weights == torch.float32):
        model.to(weights)
        found = differences()
    assert found.dtype == torch.float32
    assert expected.abs().max() < 4.0  # bfloat16 has steps of 2 from 256 on
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.0)


def test_a_backbone_that_caps_its_logits_keeps_them_all_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    config: Any = transformers.Gemma2Config
    model: Any = transformers.Gemma2ForCausalLM
    torch.manual_seed(0)
    capped = model(
        config(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5, attn_implementation="eager",
        )
    ).train()  # fmt: skip
    with caplog.at_level(logging.WARNING):
        losses, gradients = losses_and_gradients(capped, 4)
        again = losses_and_gradients(capped, 4)[0]
    all_losses, all_gradients = losses_and_gradients(capped, None)
    torch.testing.assert_close(losses, all_losses)
    torch.testing.assert_close(again, all_losses)
    torch.testing.assert_close(gradients, all_gradients)
    assert [record.message for record in caplog.records] == [
        "Gemma2ForCausalLM changes its logits after the output layer: losses take memory for all logits of a batch"
    ]
