"""Which architectures of transformers keep the solutions of a packed row apart, as docs/extending.md says."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from erprm.models import ProcessRewardModel
from erprm.models.attention import AttentionError
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
GPT2_SIZES = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 0, "eos_token_id": 1}
KEEP_APART = {
    "Llama": SIZES,
    "Mistral": SIZES,
    "Qwen2": SIZES,
    "Gemma2": {**SIZES, "head_dim": 8},
    "Phi3": SIZES,
    "GPTNeoX": SIZES,
    "GPT2": GPT2_SIZES,
    "OPT": {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32},
}
MIX = {
    "Bloom": {**SIZES, "n_layer": 2, "n_head": 4},
    "Mamba": SIZES,
}
SOLUTIONS = [Solution(f"What is {i}?", [str(j) for j in range(i + 1)]) for i in range(4)]


def scores(architecture: str, sizes: dict[str, Any], folder: Path, **settings: int) -> Tensor:
    class RandomModel(ProcessRewardModel):
        def build_backbone(self) -> PreTrainedModel:
            torch.manual_seed(0)
            config = getattr(transformers, f"{architecture}Config")(vocab_size=len(make_tokenizer()), **sizes)
            head = "LMHeadModel" if architecture == "GPT2" else "ForCausalLM"
            model: PreTrainedModel = getattr(transformers, architecture + head)(config)
            return model

    model = RandomModel.from_pretrained(folder, **settings)
    return torch.cat(model.score_steps(SOLUTIONS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("architecture", KEEP_APART)
def test_solutions_in_one_row_are_scored_as_if_alone(architecture: str, folder: Path) -> None:
    sizes = KEEP_APART[architecture]
    # A batch of one token at most holds one solution.
    alone = scores(architecture, sizes, folder, score_max_tokens=1)
    torch.testing.assert_close(scores(architecture, sizes, folder), alone, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("architecture", MIX)
def test_architectures_that_mix_solutions_are_refused_and_rows_of_one_help(architecture: str, folder: Path) -> None:
    sizes = MIX[architecture]
    alone = scores(architecture, sizes, folder, score_max_tokens=1)
    own_rows = scores(architecture, sizes, folder, score_row_tokens=1)
    torch.testing.assert_close(own_rows, alone, atol=1e-5, rtol=0.0)
    with pytest.raises(AttentionError, match=rf"{architecture}ForCausalLM .*: set data.row_tokens and model.score_row"):
        scores(architecture, sizes, folder)
