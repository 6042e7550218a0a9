import torch
from torch.utils.flop_counter import FlopCounterMode

from erprm.data.packing import pack_rows
from erprm.estimate.flops import rows_cost, token_flops
from tests.tiny import make_llama

# Queries 32 x 32, keys and values 32 x 16 (2 of 4 heads), output 32 x 32; feed-forward 3 x 32 x 64.
WEIGHTS_OF_A_LAYER = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64


def test_a_weight_costs_six_operations_a_token_and_a_pair_twelve_a_feature_and_layer() -> None:
    cost = token_flops(make_llama(vocabulary=340))
    assert cost.weights == 6 * 2 * WEIGHTS_OF_A_LAYER
    assert cost.pair == 12 * 2 * 32
    assert cost.total(tokens=10, pairs=55) == 10 * 12 * WEIGHTS_OF_A_LAYER + 55 * 24 * 32


def test_a_frozen_weight_costs_four_operations_since_it_has_no_gradient_of_its_own() -> None:
    model = make_llama(vocabulary=340)
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    assert token_flops(model).weights == 4 * 2 * WEIGHTS_OF_A_LAYER


def test_the_cost_is_what_torch_counts_in_a_forward_and_a_backward_pass() -> None:
    model = make_llama(vocabulary=340, attn_implementation="eager")
    tokens = 12
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(1, tokens, dtype=torch.long)).logits.sum().backward()
    # torch counts what is computed: all pairs, masked ones too, and logits of every token.
    head = 6 * tokens * 32 * 340
    assert counter.get_total_flops() == token_flops(model).total(tokens, tokens**2) + head


def test_without_a_backward_pass_the_cost_is_what_torch_counts_in_a_forward_pass() -> None:
    model = make_llama(vocabulary=340, attn_implementation="eager")
    tokens = 12
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.zeros(1, tokens, dtype=torch.long))
    cost = token_flops(model, backward=False)
    assert (cost.weights, cost.pair) == (2 * 2 * WEIGHTS_OF_A_LAYER, 4 * 2 * 32)
    assert counter.get_total_flops() == cost.total(tokens, tokens**2) + 2 * tokens * 32 * 340


def test_shared_tokens_are_counted_once_and_padding_is_not() -> None:
    # A tree of 1 2 3 and 1 2 4 5 has 5 tokens at depths 0 1 2 2 3, which read 1 + 2 + 3 + 3 + 4 tokens.
    rows, _ = pack_rows([[1, 2, 3], [1, 2, 4, 5]], shared=torch.tensor([0, 2]).numpy())
    assert rows_cost(rows).tolist() == [5, 13]
    # Rows of 3 and of 2 tokens, the second padded to 3.
    rows, _ = pack_rows([[1, 2, 3], [4, 5]], row_tokens=3)
    assert rows.input_ids.shape == (2, 3)
    assert rows_cost(rows).tolist() == [5, 6 + 3]
