"""Architectures of transformers: which keep the solutions of a row apart, as docs/extending.md says, and train."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from erprm.cli import main
from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from erprm.models.attention.masks import AttentionError
from erprm.steps import Solution
from tests.models.attention.test_trees import SIZES
from tests.tiny import make_record, make_tokenizer

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


@pytest.mark.parametrize("architecture", ["Llama", "Mistral", "Qwen2", "Gemma"])
def test_architectures_are_trained_by_their_folder_s_name_alone(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained("lm")
    config = getattr(transformers, f"{architecture}Config")(vocab_size=len(tokenizer), **SIZES)
    getattr(transformers, f"{architecture}ForCausalLM")(config).save_pretrained("lm")
    write_records([make_record(i) for i in range(10)], "rollouts.parquet")
    settings = {
        "trainer.max_epochs": "1",
        "trainer.logger": "false",
        "trainer.callbacks": "erprm.callbacks.ExportHF",
        "trainer.callbacks.output": "prm",
        "model.backbone": "lm",
        "data.rollouts": "rollouts.parquet",
        "data.validation_fraction": "0.2",
        "data.cache_dir": "cache",
    }
    assert main(["fit", *(f"--{key}={value}" for key, value in settings.items())]) == 0

    # The exported folder, read as the official way does: the whole text, softmax of the labels at each tag.
    solution = SOLUTIONS[2]
    text = solution.question + " " + "".join(step + " ки" for step in solution.steps)
    lm: Any = transformers.AutoModelForCausalLM.from_pretrained("prm").eval()
    assert type(lm).__name__ == f"{architecture}ForCausalLM"
    # transformers may give a folder's architecture a tokenizer class of its own, with another way to split text.
    tokenizer = transformers.AutoTokenizer.from_pretrained("prm")
    tokens = torch.tensor([tokenizer.encode(text)])
    labels = [tokenizer.encode(label)[-1] for label in (" +", " -")]
    with torch.no_grad():
        expected = lm(tokens).logits[0][:, labels].softmax(-1)[:, 0][tokens[0] == tokenizer.encode(" ки")[-1]]
    (found,) = ProcessRewardModel.from_pretrained("prm").score_steps([solution])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)
