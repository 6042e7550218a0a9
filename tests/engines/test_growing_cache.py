import torch
import transformers
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from erprm.engines.growing_cache import GrowingLayer, growing_cache


def test_a_layer_holds_what_was_appended_to_the_rows_that_were_kept() -> None:
    torch.manual_seed(0)
    layer, plain = GrowingLayer(), DynamicLayer()
    rows = 6
    # More tokens than there is room for, a few times over.
    for tokens in (9, *[1] * 70, 80, *[1] * 70):
        keys, values = torch.randn(rows, 2, tokens, 4), torch.randn(rows, 2, tokens, 3)
        found, expected = layer.update(keys, values), plain.update(keys, values)
        assert all(ours.equal(theirs) for ours, theirs in zip(found, expected, strict=True))
        if layer.get_seq_length() % 20 == 0:
            kept = torch.tensor([*range(1, rows), rows - 1])
            layer.batch_select_indices(kept)
            plain.batch_select_indices(kept)
    assert layer.get_seq_length() == plain.get_seq_length() == 229
    assert layer.get_mask_sizes(1) == plain.get_mask_sizes(1)


def test_an_appended_token_moves_nothing() -> None:
    layer = GrowingLayer()
    keys, values = layer.update(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2))
    more_keys, more_values = layer.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert (more_keys.data_ptr(), more_values.data_ptr()) == (keys.data_ptr(), values.data_ptr())


def test_layers_of_other_kinds_stay_those_of_transformers() -> None:
    sliding = growing_cache(transformers.MistralConfig(num_hidden_layers=2, sliding_window=6))
    assert [type(layer) for layer in sliding.layers] == [DynamicSlidingWindowLayer] * 2
    full = growing_cache(transformers.LlamaConfig(num_hidden_layers=2))
    assert [type(layer) for layer in full.layers] == [GrowingLayer] * 2
