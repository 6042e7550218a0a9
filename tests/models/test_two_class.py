import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import transformers
from torch import nn

from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.models import AdaptedRewardModel, LoRA, ProcessRewardModel, TokenClassificationRewardModel
from erprm.models.backbone.loading import BackboneError
from erprm.steps import Solution, StepFormat
from tests.models.adapters.checkpoints import tiny_tokenizer, token_classifier
from tests.tiny import assert_same_model, make_record, save_tiny_llama

SOLUTIONS = [Solution("What is 3 and 4 more?", ["3 + 4 = 7.", "So 7."]), Solution("What is 5?", ["5"])]


def data(folder: Path) -> ProcessRewardDataModule:
    write_records([make_record(i, [[float(i % 2)], [float(i % 3 > 0)]]) for i in range(12)], folder / "r.parquet")
    return ProcessRewardDataModule(
        str(folder / "r.parquet"), validation_fraction=0.25, max_length=256, cache_dir=str(folder / "cache")
    )


def fit(model: L.LightningModule, folder: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, default_root_dir=folder, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data(folder))


def parameters(model: ProcessRewardModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def test_a_language_model_gets_a_head_of_two_classes_and_the_layout_of_trl(tmp_path: Path) -> None:
    model = TokenClassificationRewardModel.from_pretrained(save_tiny_llama(tmp_path / "lm"))
    assert model.backbone is not None
    assert type(model.backbone).__name__ == "LlamaForTokenClassification"
    assert model.step_format == StepFormat.preset("trl")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "lm").state_dict()
    for name, weight in model.backbone.state_dict().items():
        assert name.startswith("score.") or torch.equal(weight, base[name])


def test_the_head_begins_as_the_seed_says(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "lm")
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        backbone: Any = TokenClassificationRewardModel.from_pretrained(tmp_path / "lm").backbone
        heads.append(backbone.score.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("architecture", ["Qwen2", "GPT2"])
def test_a_token_classifier_keeps_its_head(tmp_path: Path, architecture: str) -> None:
    changes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512} if architecture == "GPT2" else {}
    token_classifier(tmp_path, tiny_tokenizer(), architecture, **changes)
    model = TokenClassificationRewardModel.from_pretrained(tmp_path)
    assert_same_model(model, AdaptedRewardModel.from_pretrained(tmp_path), SOLUTIONS)


def test_a_trained_model_is_saved_for_every_reader(tmp_path: Path) -> None:
    model = TokenClassificationRewardModel(str(save_tiny_llama(tmp_path / "lm")))
    fit(model, tmp_path)
    model.save_pretrained(tmp_path / "prm")
    config = json.loads((tmp_path / "prm/config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForTokenClassification"]
    assert config["id2label"] == {"0": "bad", "1": "good"}
    expected = model.eval().score_steps(SOLUTIONS)
    for reader in (TokenClassificationRewardModel, AdaptedRewardModel):
        for found, scores in zip(
            reader.from_pretrained(tmp_path / "prm").score_steps(SOLUTIONS), expected, strict=True
        ):
            torch.testing.assert_close(found, scores)


def test_dropout_is_off_while_training(tmp_path: Path) -> None:
    token_classifier(tmp_path, tiny_tokenizer(), "Llama", classifier_dropout=0.5)
    for model in (TokenClassificationRewardModel(str(tmp_path)), AdaptedRewardModel(str(tmp_path))):
        model.configure_model()
        model.train()
        rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
        assert rates == [0.0]


def test_lora_trains_the_head_whole_and_none_of_the_weights_below_it(tmp_path: Path) -> None:
    model = TokenClassificationRewardModel(
        str(save_tiny_llama(tmp_path / "lm")),
        lora=LoRA(r=2),
        optimizer=lambda params: torch.optim.SGD(params, lr=1.0),
        scheduler=None,
    )
    model.configure_model()
    before = parameters(model)
    fit(model, tmp_path)
    changed = {name for name, weight in parameters(model).items() if not torch.equal(weight, before[name])}
    assert any(name.startswith("backbone.score.base_layer.") for name in changed)
    assert any("lora_B" in name for name in changed)
    assert not any("lora" not in name and "score" not in name for name in changed)
    model.save_pretrained(tmp_path / "prm")
    merged = TokenClassificationRewardModel.from_pretrained(tmp_path / "prm").score_steps(SOLUTIONS)
    for found, expected in zip(merged, model.eval().score_steps(SOLUTIONS), strict=True):
        torch.testing.assert_close(found, expected)


def test_label_tokens_of_a_step_format_are_left_out(tmp_path: Path) -> None:
    model = TokenClassificationRewardModel(str(save_tiny_llama(tmp_path / "lm")), step_format="er_prm")
    assert (model.step_format.tag, model.step_format.positive, model.step_format.negative) == (" ки", None, None)


def test_the_loss_over_the_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.loss is 'vocabulary'; .* it must be two_way, mse or beta_binomial"):
        TokenClassificationRewardModel(str(save_tiny_llama(tmp_path / "lm")), loss="vocabulary")


def test_weights_missing_below_the_head_are_not_made_up(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny_llama(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        BackboneError, match=r"lack 1 weights of a LlamaForTokenClassification, such as model\.norm\.weight"
    ):
        TokenClassificationRewardModel.from_pretrained(tmp_path)
