"""Packed rows and question trees give the scores, losses and gradients of one solution at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from erprm.data.batching.tries import cut_tries, trie_order
from erprm.data.packing import StepBatch, pack_solutions
from erprm.losses import Loss
from erprm.models import ProcessRewardModel
from erprm.steps import Solution
from tests.tiny import make_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    # Wide enough for what a model sees to make a difference.
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
FIRST, SECOND = "What is 3 and 4 more?", "What is 15?"
# Two shared first steps, an equal solution, one that goes on from another, and a question of its own.
SOLUTIONS = [
    Solution(FIRST, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
    Solution(FIRST, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 8"]),
    Solution(FIRST, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
    Solution(FIRST, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7", "Step 3: 15"]),
    Solution(FIRST, ["Step 1: 15."]),
    Solution(SECOND, ["15", "The answer is: 15"]),
    Solution(SECOND, ["15", "The answer is: 7"]),
    Solution("q", ["a"]),
]
# Of these, one a step and solution, no two are equal: a shared tag carries several.
LABELS = [np.linspace(0.05 * i, 1 - 0.1 * i, len(s.steps)).astype(np.float32) for i, s in enumerate(SOLUTIONS)]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Mistral": {"sliding_window": None},
    "Qwen2": {},
    # Soft capping of the logits, and layers of two types.
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 4096, "initializer_range": 0.1},
    "Granite": {"logits_scaling": 3.0},
    "Cohere": {"logit_scale": 0.3},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32},
}


def tiny_model(
    folder: Path, architecture: str = "Llama", changes: dict[str, Any] | None = None, **settings: Any
) -> Any:
    class RandomModel(ProcessRewardModel):
        def build_backbone(self) -> PreTrainedModel:
            torch.manual_seed(0)
            sizes = {**SIZES, **ARCHITECTURES[architecture], **(changes or {})}
            config = getattr(transformers, f"{architecture}Config")(vocab_size=len(make_tokenizer()), **sizes)
            model: PreTrainedModel = getattr(transformers, f"{architecture}ForCausalLM")(config)
            return model

    return RandomModel.from_pretrained(folder, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return folder


def packed(model: ProcessRewardModel, chosen: Sequence[int], layout: str, row_tokens: int | None = None) -> StepBatch:
    encoded = [model.step_encoder.encode(SOLUTIONS[i]) for i in chosen]
    token_ids = [np.array(e.input_ids) for e in encoded]
    order, shared = list(range(len(chosen))), None
    if layout == "trees":
        # A batch numbers its solutions as it holds them.
        questions = [SOLUTIONS[i].question for i in chosen]
        order, parts = [], []
        for question in dict.fromkeys(questions):
            members = [i for i, other in enumerate(questions) if other == question]
            by_tokens, part = trie_order([token_ids[i] for i in members])
            order += [members[i] for i in by_tokens]
            parts.append(part)
        shared = np.concatenate(parts)
        if row_tokens is not None:
            shared = cut_tries(np.array([len(token_ids[i]) for i in order]), shared, row_tokens)
    return pack_solutions(
        [token_ids[i] for i in order],
        [encoded[i].tag_positions for i in order],
        [LABELS[chosen[i]] for i in order],
        row_tokens=row_tokens,
        shared=shared,
    )


def loss_and_gradients(model: ProcessRewardModel, batches: Sequence[StepBatch]) -> tuple[Tensor, list[Tensor]]:
    """Of the mean over all steps of all batches."""
    steps = sum(len(batch.labels) for batch in batches)
    model.zero_grad()
    losses = [model.logits_and_losses(batch)[1].sum() / steps for batch in batches]
    total = torch.stack(losses).sum()
    total.backward()
    return total.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


# The norms of Llama compute in float32 whatever they are given, those of GPT-NeoX do not.
@pytest.mark.parametrize(
    ("architecture", "dtype", "tolerance"), [("Llama", torch.float32, 1e-5), ("GPTNeoX", torch.float64, 1e-10)]
)
@pytest.mark.parametrize("loss", ["two_way", "vocabulary", "mse"])
@pytest.mark.parametrize(("layout", "row_tokens"), [("rows", None), ("rows", 60), ("trees", None), ("trees", 60)])
def test_loss_and_gradients_equal_one_solution_at_a_time(
    folder: Path,
    layout: str,
    row_tokens: int | None,
    loss: Loss,
    architecture: str,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    model = tiny_model(folder, architecture, loss=loss).to(dtype)
    singles = [packed(model, [i], "rows") for i in range(len(SOLUTIONS))]
    batch = packed(model, range(len(SOLUTIONS)), layout, row_tokens)
    assert batch.layout == layout
    assert (len(batch.input_ids) > 1) == (row_tokens is not None)
    if layout == "trees":
        assert len(set(batch.tag_index.tolist())) < len(batch.tag_index)
    expected_loss, expected = loss_and_gradients(model, singles)
    found_loss, found = loss_and_gradients(model, [batch])
    torch.testing.assert_close(found_loss, expected_loss, atol=tolerance, rtol=tolerance)
    assert len(found) == len(expected) == len(list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one, other, atol=tolerance * scale, rtol=0.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_scores_of_trees_equal_single_forwards_on_every_architecture(
    folder: Path, architecture: str, attention: str
) -> None:
    model = tiny_model(folder, architecture, attn_implementation=attention)
    with torch.no_grad():
        singles = [packed(model, [i], "rows") for i in range(len(SOLUTIONS))]
        plain = [
            model.backbone(input_ids=batch.input_ids).logits[0, batch.tag_index][
                :, [model.step_encoder.positive_id, model.step_encoder.negative_id]
            ]
            for batch in singles
        ]
    expected = [logits.softmax(-1)[:, 0] for logits in plain]
    assert float(torch.cat(expected).std()) > 0.001  # there is something to tell apart
    for settings in ({}, {"score_row_tokens": 60}, {"score_packing": "rows"}, {"score_max_tokens": 1}):
        again = tiny_model(folder, architecture, attn_implementation=attention, **settings)
        for scores, reference in zip(again.score_steps(SOLUTIONS), expected, strict=True):
            torch.testing.assert_close(scores, reference, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("architecture", ["Mistral", "Gemma2", "Qwen2"])
def test_a_sliding_window_reaches_back_by_position_not_by_place_in_the_row(folder: Path, architecture: str) -> None:
    # Some layers of Gemma 2 and Qwen 2 have a window, some have none; all of Mistral's have.
    changes: dict[str, Any] = {"sliding_window": 12}
    if architecture == "Qwen2":
        changes |= {"use_sliding_window": True, "max_window_layers": 1}
    model = tiny_model(folder, architecture, changes)
    alone = [model.score_steps([solution])[0] for solution in SOLUTIONS]
    for settings in ({}, {"score_packing": "rows"}, {"score_row_tokens": 60}):
        packed_model = tiny_model(folder, architecture, changes, **settings)
        torch.testing.assert_close(
            torch.cat(packed_model.score_steps(SOLUTIONS)), torch.cat(alone), atol=1e-5, rtol=0.0
        )
    wide = tiny_model(folder, architecture, {**changes, "sliding_window": 4096})
    assert (torch.cat(wide.score_steps(SOLUTIONS)) - torch.cat(alone)).abs().max() > 1e-4  # the window matters
