from contextlib import suppress

import pytest
import torch
import transformers
from torch import Tensor, nn

from erprm.engines import grouped_attention as module
from erprm.engines.grouped_attention import grouped_attention, heads_grouped

ROWS, HEADS, KEY_HEADS, TOKENS, DIMENSION = 3, 6, 2, 5, 4


class Layer(nn.Module):
    num_key_value_groups = HEADS // KEY_HEADS
    is_causal = True


def tensors(new_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    cache = (ROWS, KEY_HEADS, TOKENS, DIMENSION)
    return torch.randn(ROWS, HEADS, new_tokens, DIMENSION), torch.randn(cache), torch.randn(cache)


def by_hand(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Head by head: query heads 0 to 2 read key head 0, the others key head 1."""
    outputs = []
    for head in range(HEADS):
        products = torch.einsum("rqd,rkd->rqk", query[:, head], key[:, head // 3]) * scaling
        weights = products.masked_fill(~mask[:, min(head, mask.shape[1] - 1)], -torch.inf).softmax(-1)
        outputs.append(weights @ value[:, head // 3])
    return torch.stack(outputs, 2)


@pytest.mark.parametrize("new_tokens", [1, 2])
@pytest.mark.parametrize("mask_heads", [1, HEADS])
def test_each_head_reads_its_own_keys(new_tokens: int, mask_heads: int) -> None:
    query, key, value = tensors(new_tokens)
    mask = torch.rand(ROWS, mask_heads, new_tokens, TOKENS) < 0.6
    mask[..., 0] = True
    output, _ = grouped_attention(Layer(), query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(output, by_hand(query, key, value, mask, 0.3))


def test_all_tokens_are_seen_without_a_mask() -> None:
    query, key, value = tensors(1)
    output, _ = grouped_attention(Layer(), query, key, value, None, scaling=0.5)
    everything = torch.ones(ROWS, 1, 1, TOKENS, dtype=torch.bool)
    torch.testing.assert_close(output, by_hand(query, key, value, everything, 0.5))


def test_keys_of_a_group_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def recorded(query: Tensor, key: Tensor, value: Tensor, **_: object) -> Tensor:
        seen.append((key, value))
        return query

    monkeypatch.setattr(module, "scaled_dot_product_attention", recorded)
    query, key, value = tensors(1)
    grouped_attention(Layer(), query, key, value, torch.ones(ROWS, 1, 1, TOKENS, dtype=torch.bool))
    assert seen == [(key, value)]


def tiny(attention: str) -> transformers.PreTrainedModel:
    config = transformers.LlamaConfig(
        vocab_size=11,
        hidden_size=12,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
    )
    config._attn_implementation = attention
    model: transformers.PreTrainedModel = transformers.LlamaForCausalLM(config)
    model.train(False)
    return model


def test_a_model_gets_its_attention_back() -> None:
    model = tiny("sdpa")
    with heads_grouped(model):
        assert model.config._attn_implementation == module.GROUPED
    assert model.config._attn_implementation == "sdpa"
    with suppress(KeyError), heads_grouped(model):
        raise KeyError
    assert model.config._attn_implementation == "sdpa"


def test_another_attention_than_sdpa_stays() -> None:
    model = tiny("eager")
    with heads_grouped(model):
        assert model.config._attn_implementation == "eager"
    assert model.config._attn_implementation == "eager"
