from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from erprm.data.packing import PackedRows, pack_rows
from erprm.models.attention.kernels import PATHS, path_attention, plan_runs, row_inputs
from erprm.models.attention.masks import pair_mask
from tests.models.attention.test_trees import SOLUTIONS, tiny_model
from tests.tiny import make_tokenizer

# The rows [3 x 10] and [Q a b, Q a c d, Q e; P f; two tokens of padding], each token of a tree once.
ROWS, _ = pack_rows(
    [[1, 11, 12], [1, 11, 13, 14], [1, 15], [2, 16], [3] * 10], row_tokens=10, shared=np.array([0, 2, 1, 0, 0])
)


def test_rows_are_cut_where_a_token_does_not_follow_its_parent() -> None:
    found = {
        (tuple(tokens), tuple(path))
        for runs in plan_runs(ROWS.position_ids).runs
        for tokens, path in zip(runs.tokens.tolist(), runs.paths.tolist(), strict=True)
    }
    # Row 0 at places 0 to 9; in row 1: Q a b, then c d below Q a, e below Q, the tree P f, and two of padding.
    assert found == {
        (tuple(range(10)), tuple(range(10))),
        ((10, 11, 12), (10, 11, 12)),
        ((13, 14), (10, 11, 13, 14)),
        ((15,), (10, 15)),
        ((16, 17), (16, 17)),
        ((18,), (18,)),
        ((19,), (19,)),
    }


def test_outputs_and_gradients_are_those_of_a_mask_of_all_pairs() -> None:
    torch.manual_seed(0)
    lengths, shared = [9, 13, 12, 30, 7, 8, 5, 21], np.array([0, 4, 9, 0, 6, 3, 0, 2])
    rows, _ = pack_rows([list(range(length)) for length in lengths], row_tokens=40, shared=shared)
    count, width = rows.input_ids.shape
    query = torch.randn(count, 6, width, 4, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(count, 2, width, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    keys, values = (tensor.repeat_interleave(3, dim=1) for tensor in (key, value))
    mask = pair_mask(rows)
    expected = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=0.3).transpose(1, 2)
    found, _ = path_attention(nn.Module(), query, key, value, rows.position_ids[:, None, None], scaling=0.3)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((output * weights).sum(), (query, key, value)) for output in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_no_pair_of_tokens_of_different_solutions_is_computed() -> None:
    # 50 solutions of 8 tokens in one row: 50 x 8 x 8 pairs and not 400 x 400.
    rows, _ = pack_rows([list(range(8))] * 50)
    pairs = sum(runs.tokens.numel() * runs.paths.shape[1] for runs in plan_runs(rows.position_ids).runs)
    assert pairs == 50 * 8 * 8


def kernel_for(backbone: MistralForCausalLM | GPT2LMHeadModel | LlamaForCausalLM, rows: PackedRows) -> str:
    backbone(**row_inputs(backbone, rows))
    return str(backbone.config._attn_implementation)


def test_a_window_narrower_than_the_row_takes_the_mask() -> None:
    sizes: dict[str, Any] = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1}
    narrow, wide = (MistralForCausalLM(MistralConfig(**sizes, **heads, sliding_window=window)) for window in (9, 10))
    assert ROWS.input_ids.shape[1] == 10
    assert kernel_for(narrow, ROWS) == "sdpa"
    assert kernel_for(wide, ROWS) == PATHS


def test_a_backbone_of_another_kind_follows_paths_too() -> None:
    torch.manual_seed(0)
    backbone = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2)).double().eval()
    found = backbone(**row_inputs(backbone, ROWS)).logits
    assert backbone.config._attn_implementation == PATHS
    torch.testing.assert_close(found, backbone(**row_inputs(backbone, ROWS, "sdpa")).logits)
    assert backbone.config._attn_implementation == "sdpa"


def test_gradients_are_the_same_when_layers_are_run_again(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    gradients = []
    for again in (False, True):
        model = tiny_model(tmp_path).train()
        if again:
            model.backbone.gradient_checkpointing_enable()
        encoded = model.step_encoder.encode_batch(SOLUTIONS)
        rows, _ = pack_rows([solution.input_ids for solution in encoded])
        model.backbone(**row_inputs(model.backbone, rows)).logits.square().mean().backward()
        assert model.backbone.config._attn_implementation == PATHS
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_a_backbone_that_has_read_packed_rows_reads_padded_batches_and_generates_as_before() -> None:
    torch.manual_seed(0)
    backbone = LlamaForCausalLM(
        LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    ).eval()
    ids, seen = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])

    def read() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        padded = backbone(input_ids=ids, attention_mask=seen).logits[seen.bool()]
        written = backbone.generate(ids, attention_mask=seen, max_new_tokens=5, do_sample=False, pad_token_id=0)
        return padded, backbone(input_ids=ids).logits, written

    before = read()
    backbone(**row_inputs(backbone, ROWS))
    assert backbone.config._attn_implementation == PATHS
    torch.testing.assert_close(read(), before)
