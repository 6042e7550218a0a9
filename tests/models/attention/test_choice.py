"""The choice among kernels, on a CPU, where ``flex_attention`` has no backward pass: others stand in for it.

The stand-ins get its block mask; some are wrong or slow on purpose.
"""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from erprm.data.packing import PackedRows, pack_rows
from erprm.models.attention import choice, kernels
from erprm.models.attention.choice import Heads, fastest_kernel, is_right
from tests.models.attention.test_trees import SOLUTIONS, tiny_model
from tests.tiny import make_llama, make_tokenizer

HEADS = Heads(queries=4, keys=2, width=8, layers=2, dtype=torch.float32, device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    is_right.cache_clear()
    choice._fastest.clear()
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flex_attention", on_dense_mask)
    yield
    is_right.cache_clear()
    choice._fastest.clear()


def tree(width: int = 40) -> PackedRows:
    rows, _ = pack_rows([[1] * width, [2] * width], shared=np.array([0, width // 2]))
    return rows


def on_dense_mask(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    """The same as flex attention, with all pairs computed."""
    dense = create_mask(mask.mask_mod, len(query), 1, query.shape[2], key.shape[2], device="cpu")
    return sdpa_attention_forward(module, query, key, value, dense, **options)


def without_mask(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
    """Lets every token see all tokens before it, those of other solutions, too."""
    return sdpa_attention_forward(module, query, key, value, None, **options)


def slow(*given: Any, **options: Any) -> Any:
    time.sleep(0.05)
    return on_dense_mask(*given, **options)


def failing(*_given: Any, **_options: Any) -> Any:
    raise KeyError("no such\nregister")


@pytest.mark.parametrize("layout", ["trees", "rows"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_right_kernel_passes_without_a_word(layout: Any, dtype: torch.dtype) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_right("flex_attention", layout, Heads(4, 2, 8, 2, dtype, torch.device("cpu")))


@pytest.mark.parametrize(
    ("kernel", "complaint"),
    [(without_mask, r"its output differs from that of sdpa by \d"), (failing, "KeyError: 'no such")],
)
def test_a_wrong_or_failing_kernel_is_left_out_with_one_warning(
    kernel: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flex_attention", kernel)
    llama = make_llama(340)
    with pytest.warns(UserWarning, match=f"flex_attention is not used for trees of torch.float32 on cpu: {complaint}"):
        assert fastest_kernel(["flex_attention", "sdpa"], llama, tree()) == "sdpa"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fastest_kernel(["flex_attention", "sdpa"], llama, tree(20)) == "sdpa"


def test_wrong_gradients_are_found_behind_right_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def detached(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        return on_dense_mask(module, query, key * 0.5 + 0.5 * key.detach(), value, mask, **options)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flex_attention", detached)
    with pytest.warns(UserWarning, match="its gradient differs from that of sdpa"):
        assert not is_right("flex_attention", "trees", HEADS)


def test_the_fastest_of_the_right_ones_is_taken_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    llama, asked = make_llama(340), []
    seconds = {("flex_attention", 60): 2.0, ("sdpa", 60): 1.0, ("flex_attention", 600): 3.0, ("sdpa", 600): 4.0}

    def timed(kernel: str, _heads: Heads, rows: PackedRows) -> float:
        asked.append(kernel)
        return seconds[kernel, rows.input_ids.shape[1]]

    monkeypatch.setattr(choice, "_seconds", timed)
    for _ in range(2):
        assert fastest_kernel(["flex_attention", "sdpa"], llama, tree(40)) == "sdpa"
        assert fastest_kernel(["flex_attention", "sdpa"], llama, tree(400)) == "flex_attention"
    assert len(asked) == 4


def test_a_slow_kernel_is_measured_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flex_attention", slow)
    llama = make_llama(340).eval()
    before = torch.random.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert fastest_kernel(["flex_attention", "sdpa"], llama, tree()) == "sdpa"
    assert torch.equal(before, torch.random.get_rng_state())


def test_nothing_is_timed_under_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_seconds", None)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert fastest_kernel(["flex_attention", "sdpa"], make_llama(340), tree()) == "flex_attention"


def test_a_backbone_with_dropout_does_without_flex_attention() -> None:
    llama = make_llama(340, attention_dropout=0.1)
    assert fastest_kernel(["flex_attention", "sdpa"], llama, tree()) == "sdpa"


@pytest.mark.parametrize("is_wrong", [True, False])
def test_scores_are_right_whichever_kernel_auto_takes(
    is_wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    expected = torch.cat(tiny_model(tmp_path).score_steps(SOLUTIONS))
    monkeypatch.setattr(kernels, "possible_kernels", lambda *_: ["flex_attention", "sdpa"])
    monkeypatch.setattr(choice, "_seconds", lambda kernel, *_: float(kernel != "flex_attention"))
    if is_wrong:
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flex_attention", without_mask)
    model = tiny_model(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = torch.cat(model.score_steps(SOLUTIONS))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)
    assert any("flex_attention is not used for trees" in str(each.message) for each in told) == is_wrong
    assert model.backbone.config._attn_implementation == ("sdpa" if is_wrong else "flex_attention")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["trees", "rows"])
def test_compiled_flex_attention_passes_on_a_gpu(
    layout: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flex_attention", flex_attention_forward)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="flex_attention is not used")
        assert is_right("flex_attention", layout, Heads(16, 4, 64, 2, dtype, torch.device("cuda")))
