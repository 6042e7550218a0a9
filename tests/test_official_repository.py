"""Tests that the official repository's files (https://github.com/hanningzhang/ER-PRM at 5a996d4) work unchanged.

That is the layout of the training data in its README, and the README's way to score with the trained model.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from erprm.cli import main
from erprm.models import ProcessRewardModel
from erprm.steps import Solution
from tests.models.adapters.checkpoints import causal_lm
from tests.steps.real_tokenizers import mistral_tokenizer
from tests.tiny import make_tokenizer

transformers_: Any = transformers

QUESTION = "Mia’s hens lay 6 eggs a day. She eats 2 and sells the rest for $3 each. What does she make a day?"
STEPS = ["Step 1: She has 6 - 2 = <<6-2=4>>4 eggs left.", "Step 2: She makes 4 * 3 = $<<4*3=12>>12. The answer is: 12"]


def official_row(question: str, steps: list[str], values: list[float]) -> dict[str, Any]:
    return {"text": question + " " + "\n".join(f"{step} ки" for step in steps), "value": values}


def scores_by_the_readme(folder: Path, tag: str, question: str, output: str) -> torch.Tensor:
    """One text, one forward, the softmax of two logits, at every token that is the tag."""
    tokenizer = transformers_.AutoTokenizer.from_pretrained(folder)
    model = transformers_.AutoModelForCausalLM.from_pretrained(folder).eval()
    labels = [tokenizer.encode(text)[-1] for text in (" +", " -")]
    input_ids = torch.tensor([tokenizer.encode(question + " " + output.replace("ки\n", "ки"))])
    with torch.no_grad():
        shares = model(input_ids).logits[:, :, labels].softmax(dim=-1)[:, :, 0]
    scores: torch.Tensor = shares[input_ids == tokenizer.encode(tag)[-1]]
    return scores


# The README's tag has no space before it: with Mistral's tokenizer it gets one. A byte-level one takes it as it is.
@pytest.mark.parametrize(
    ("make", "architecture", "tag"), [(mistral_tokenizer, "Mistral", "ки"), (make_tokenizer, "Llama", " ки")]
)
def test_its_data_train_a_model_that_its_code_scores_with(
    make: Callable[[], Any], architecture: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERPRM_CACHE", str(tmp_path / "cache"))
    causal_lm(tmp_path / "lm", make(), architecture)
    rows = [official_row(QUESTION.replace("6", str(i)), STEPS, [0.8, i % 2]) for i in range(4, 16)]
    (tmp_path / "train.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    assert main(["convert", str(tmp_path / "train.json"), str(tmp_path / "train.parquet")]) == 0
    config = {
        "trainer": {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "default_root_dir": str(tmp_path),
                    "callbacks": [{"class_path": "erprm.callbacks.ExportHF",
                                   "init_args": {"output": str(tmp_path / "prm")}}]},
        "model": {"backbone": str(tmp_path / "lm")},
        "data": {"rollouts": str(tmp_path / "train.parquet"), "validation_fraction": 0.2},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    assert main(["fit", "--config", str(tmp_path / "config.yaml"), "--model.optimizer.lr=1e-3"]) == 0

    output = "\n".join(f"{step} ки" for step in STEPS)
    scores = scores_by_the_readme(tmp_path / "prm", tag, QUESTION, output)
    (expected,) = ProcessRewardModel.from_pretrained(tmp_path / "prm").score_steps([Solution(QUESTION, STEPS)])
    assert len(scores) == 2
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
