from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from erprm.data.packing import PackedRows, StepBatch, pack_rows
from erprm.models import ProcessRewardModel
from erprm.models.attention.kernels import PATHS, possible_kernels
from erprm.models.attention.masks import AttentionError, block_mask, pair_mask
from erprm.steps import Solution
from tests.models.attention.test_trees import SOLUTIONS, packed, tiny_model
from tests.tiny import make_tokenizer

# Q a b, Q a c d, Q e; then P f, and two tokens of padding from a longer row.
ROWS, _ = pack_rows(
    [[1, 11, 12], [1, 11, 13, 14], [1, 15], [2, 16], [3] * 10], row_tokens=10, shared=np.array([0, 2, 1, 0, 0])
)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def seen(row: PackedRows, number: int, window: int | None = None) -> list[list[int]]:
    mask_QK = pair_mask(row, window)[number, 0]
    return [torch.nonzero(keys).flatten().tolist() for keys in mask_QK]


def test_each_token_sees_its_own_path() -> None:
    assert ROWS.input_ids[1].tolist() == [1, 11, 12, 13, 14, 15, 2, 16, 0, 0]
    assert seen(ROWS, 0) == [list(range(n + 1)) for n in range(10)]
    assert seen(ROWS, 1) == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [0, 5], [6], [6, 7], [8], [9]]


def test_a_window_counts_positions_along_the_path() -> None:
    assert seen(ROWS, 1, window=2) == [[0], [0, 1], [1, 2], [1, 3], [3, 4], [0, 5], [6], [6, 7], [8], [9]]


@pytest.mark.parametrize("window", [None, 2])
def test_the_block_mask_of_flex_attention_sees_the_same(window: int | None) -> None:
    query, key, value = (torch.randn(2, 1, 10, 4, dtype=torch.float64) for _ in range(3))
    found = flex_attention(query, key, value, block_mask=block_mask(ROWS, window))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=pair_mask(ROWS, window))
    torch.testing.assert_close(found, expected)


def test_flex_attention_scores_trees_as_sdpa_does(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    expected = torch.cat(tiny_model(tmp_path).score_steps(SOLUTIONS))
    model = tiny_model(tmp_path, attn_implementation="flex_attention")
    # The code that torch 2.13 compiles for a CPU from such a mask is no valid C++.
    with torch.compiler.set_stance("force_eager"):
        found = torch.cat(model.score_steps(SOLUTIONS))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)
    assert model.backbone.config._attn_implementation == "flex_attention"


def test_the_kernels_follow_layout_and_device() -> None:
    assert possible_kernels("auto", "trees", CPU, "sdpa") == [PATHS]
    assert possible_kernels("auto", "single", CPU, PATHS) == ["sdpa"]
    assert possible_kernels("auto", "trees", CPU, "eager") == ["eager"]
    assert possible_kernels("auto", "trees", CUDA, "sdpa") == ["flex_attention", "sdpa"]
    assert possible_kernels("auto", "rows", CUDA, "flex_attention")[-2:] == ["flex_attention", "sdpa"]
    # After trees on CUDA, one solution a row goes back to causal kernels.
    assert possible_kernels("auto", "single", CUDA, "flex_attention") == ["sdpa"]
    assert possible_kernels("eager", "trees", CUDA, "sdpa") == ["eager"]
    with pytest.raises(AttentionError, match=r"'flash_attention_2', which cannot keep apart solutions that share"):
        possible_kernels("flash_attention_2", "trees", CUDA, "flash_attention_2")


def test_an_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.attn_implementation is 'fast'; it must be one of auto, sdpa, eager"):
        ProcessRewardModel("somewhere", attn_implementation="fast")  # type: ignore[arg-type]


class OwnForward(ProcessRewardModel):
    """A forward that hands no mask on."""

    def step_logits(self, batch: StepBatch) -> Tensor:
        assert self.backbone is not None
        logits: Tensor = self.backbone(input_ids=batch.input_ids).logits
        labels = [self.step_encoder.positive_id, self.step_encoder.negative_id]
        return logits.flatten(0, 1)[batch.tag_index][:, labels]


def test_a_forward_that_lets_solutions_read_each_other_is_refused(tmp_path: Path) -> None:
    base = tiny_model(tmp_path_tokenizer(tmp_path))
    base.save_pretrained(tmp_path / "model")
    for packing in ("rows", "trees"):
        model = OwnForward.from_pretrained(tmp_path / "model", score_packing=packing)
        with pytest.raises(
            AttentionError,
            match=r"OwnForward with LlamaForCausalLM does not keep the solutions of a row apart \(logits .* by \d",
        ):
            model.score_steps(SOLUTIONS)
    alone = OwnForward.from_pretrained(tmp_path / "model", score_row_tokens=1)
    torch.testing.assert_close(torch.cat(alone.score_steps(SOLUTIONS)), torch.cat(base.score_steps(SOLUTIONS)))


def test_mixed_precision_is_not_taken_for_solutions_that_read_each_other(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 4, "hidden_size": 256, "head_dim": 64, "intermediate_size": 512}
    model = tiny_model(tmp_path_tokenizer(tmp_path), changes=sizes)
    with torch.no_grad():
        model.backbone.lm_head.weight *= 300.0  # as in pretrained models, rounding changes logits by more than 0.001
    model.save_pretrained(tmp_path / "model")
    for packing in ("rows", "trees"):
        with torch.autocast("cpu", torch.bfloat16):
            scores = ProcessRewardModel.from_pretrained(tmp_path / "model", score_packing=packing).score_steps(
                SOLUTIONS
            )
            assert len(scores) == len(SOLUTIONS)
            with pytest.raises(AttentionError, match="does not keep the solutions of a row apart"):
                OwnForward.from_pretrained(tmp_path / "model", score_packing=packing).score_steps(SOLUTIONS)


def tmp_path_tokenizer(folder: Path) -> Path:
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.gpu
@pytest.mark.parametrize("layout", ["trees", "rows"])
def test_cuda_kernels_score_as_the_cpu_does(tmp_path: Path, layout: str) -> None:
    sizes = {"hidden_size": 64, "head_dim": 16}
    model = tiny_model(tmp_path_tokenizer(tmp_path), changes=sizes, score_packing=layout)
    expected = torch.cat(model.score_steps(SOLUTIONS))
    model.to("cuda", torch.bfloat16)
    torch.testing.assert_close(torch.cat(model.score_steps(SOLUTIONS)).cpu(), expected, atol=0.02, rtol=0.0)
    assert packed(model, range(len(SOLUTIONS)), layout).layout == layout
    assert model.score_steps([Solution("q", ["a"])])[0].numel() == 1
