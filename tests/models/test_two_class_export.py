import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import transformers
from safetensors.torch import load_file

from erprm.cli import main
from erprm.models import ProcessRewardModel
from erprm.models.two_class import save_token_classifier
from erprm.steps import Solution, StepFormat
from tests.tiny import make_llama, make_tokenizer

# transformers types its constructors not closely enough for a strict type checker.
Gemma2Config: Any = transformers.Gemma2Config
GraniteConfig: Any = transformers.GraniteConfig
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
SOLUTIONS = [Solution("What is 3 and 4 more?", ["Step 1: 3 = 7.", "The answer is: 7"]), Solution("What is 3?", ["3"])]


def save(folder: Path, language_model: Any) -> ProcessRewardModel:
    language_model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return ProcessRewardModel.from_pretrained(folder)


@pytest.mark.parametrize("tied", [False, True])
def test_the_classes_at_the_tags_score_steps_as_the_label_tokens_do(tied: bool, tmp_path: Path) -> None:
    model = save(tmp_path / "lm", make_llama(len(make_tokenizer()), tie_word_embeddings=tied))
    save_token_classifier(model, tmp_path / "classifier")
    classifier = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "classifier").eval()
    assert classifier.config.id2label == {0: "bad", 1: "good"}
    for solution, expected in zip(SOLUTIONS, model.score_steps(SOLUTIONS), strict=True):
        encoded = model.step_encoder.encode(solution)
        with torch.inference_mode():
            logits = classifier(input_ids=torch.tensor([encoded.input_ids])).logits[0]
        scores = logits[list(encoded.tag_positions)].softmax(-1)[:, 1]
        torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)


def test_the_step_format_travels_in_the_configuration_with_classes_for_labels(tmp_path: Path) -> None:
    save_token_classifier(save(tmp_path / "lm", make_llama(len(make_tokenizer()))), tmp_path / "classifier")
    config = json.loads((tmp_path / "classifier/config.json").read_text(encoding="utf-8"))
    saved = json.loads((tmp_path / "classifier/step_format.json").read_text(encoding="utf-8"))
    assert config["step_format"] == saved
    assert StepFormat.from_dict(saved) == StepFormat(positive=None, negative=None)


def test_the_export_command_makes_a_token_classifier_of_a_checkpoint(tmp_path: Path) -> None:
    model = save(tmp_path / "lm", make_llama(len(make_tokenizer())))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    model.trainer = trainer
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "trained.ckpt")
    keys = [f"--model.backbone={tmp_path / 'lm'}", f"--ckpt_path={tmp_path / 'trained.ckpt'}"]
    assert main(["export", *keys, f"--output={tmp_path / 'out'}", "--to=token-classification"]) == 0
    head = load_file(tmp_path / "out/model.safetensors")["score.weight"]
    encoder, backbone = model.step_encoder, model.backbone
    assert backbone is not None
    assert torch.equal(head, backbone.lm_head.weight[[encoder.negative_id, encoder.positive_id]])


def test_a_model_that_caps_its_logits_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=len(make_tokenizer()), final_logit_softcapping=0.1, initializer_range=0.3, **SIZES)
    model = save(tmp_path / "lm", transformers.AutoModelForCausalLM.from_config(config))
    with pytest.raises(ValueError, match=r"Gemma2ForCausalLM does something to its logits .* export it as hf"):
        save_token_classifier(model, tmp_path / "classifier")
    assert not (tmp_path / "classifier").exists()


def test_an_architecture_without_a_token_classifier_is_named(tmp_path: Path) -> None:
    del (sizes := dict(SIZES))["head_dim"]
    config = GraniteConfig(vocab_size=len(make_tokenizer()), **sizes)
    model = save(tmp_path / "lm", transformers.AutoModelForCausalLM.from_config(config))
    with pytest.raises(ValueError, match="transformers has no token classifier for GraniteForCausalLM"):
        save_token_classifier(model, tmp_path / "classifier")


def test_a_model_with_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    class Headed(ProcessRewardModel):
        def step_logits(self, batch: Any) -> torch.Tensor:
            return super().step_logits(batch)

    save(tmp_path / "lm", make_llama(len(make_tokenizer())))
    with pytest.raises(ValueError, match="Headed does not judge steps by two label tokens"):
        save_token_classifier(Headed(str(tmp_path / "lm")), tmp_path / "classifier")
