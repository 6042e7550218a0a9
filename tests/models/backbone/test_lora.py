from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import transformers

from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.models import LoRA, ProcessRewardModel
from erprm.steps import Solution
from tests.models.attention.test_architectures import GPT2_SIZES
from tests.tiny import assert_same_model, make_record, make_tokenizer, save_tiny_llama

SOLUTION = Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama, and a GPT-2, whose layers store their weights the other way round."""
    folder = tmp_path_factory.mktemp("lora")
    save_tiny_llama(folder / "llama")
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config_class: Any = transformers.GPT2Config
    config = config_class(vocab_size=len(tokenizer), **GPT2_SIZES)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder / "gpt2")
    tokenizer.save_pretrained(folder / "gpt2")
    write_records([make_record(i) for i in range(20)], folder / "r.parquet")
    return folder


def build(path: Path, lora: LoRA | None = None) -> ProcessRewardModel:
    optimizer = lambda params: torch.optim.AdamW(params, lr=0.05)  # noqa: E731
    return ProcessRewardModel(str(path), optimizer=optimizer, scheduler=None, lora=lora)


def fit(model: ProcessRewardModel, folder: Path, output: Path, **settings: Any) -> Path:
    data = ProcessRewardDataModule(
        str(folder / "r.parquet"), validation_fraction=0.2, max_length=256, max_tokens=600, cache_dir=str(folder / "c")
    )
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, default_root_dir=output, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, data, **settings)
    trainer.save_checkpoint(output / "trained.ckpt")
    return output / "trained.ckpt"


def test_fresh_adapters_leave_every_score_as_it_is(folder: Path) -> None:
    (expected,) = build_for_scoring(folder / "llama").score_steps([SOLUTION])
    model = build_for_scoring(folder / "llama", LoRA())
    added = [weight for name, weight in model.named_parameters() if "lora_B" in name]
    assert added
    # What they add is a product with 0. Rounding may depend on where weights lie in memory, here as anywhere.
    assert not any(bool(weight.any()) for weight in added)
    torch.testing.assert_close(model.score_steps([SOLUTION])[0], expected, atol=1e-6, rtol=0.0)


def build_for_scoring(path: Path, lora: LoRA | None = None) -> ProcessRewardModel:
    model = build(path, lora)
    model.configure_model()
    return model.eval()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_merged_weights_score_as_the_adapters_did(name: str, folder: Path, tmp_path: Path) -> None:
    model = build(folder / name, LoRA(r=2, alpha=6.0))
    fit(model, folder, tmp_path)
    (trained,) = model.eval().score_steps([SOLUTION])
    model.save_pretrained(tmp_path / "merged")
    (merged,) = ProcessRewardModel.from_pretrained(tmp_path / "merged").score_steps([SOLUTION])
    (before,) = build_for_scoring(folder / name).score_steps([SOLUTION])
    torch.testing.assert_close(merged, trained, atol=1e-5, rtol=0.0)
    assert (trained - before).abs().max() > 0.01


def test_only_adapters_are_trained_and_saved_and_training_goes_on_from_them(folder: Path, tmp_path: Path) -> None:
    model = build(folder / "llama", LoRA(r=2, target_modules=["q_proj", "v_proj"]))
    path = fit(model, folder, tmp_path)
    saved = torch.load(path, weights_only=True)["state_dict"]
    # Two layers, two projections, two matrices each.
    assert len(saved) == 8
    assert all(".lora_" in key for key in saved)

    again = build(folder / "llama", LoRA(r=2, target_modules=["q_proj", "v_proj"]))
    fit(again, folder, tmp_path / "again", ckpt_path=path)
    assert_same_model(again.eval(), model.eval(), [SOLUTION])


def test_adapters_of_a_bfloat16_backbone_are_float32(tmp_path: Path) -> None:
    model = ProcessRewardModel(str(save_tiny_llama(tmp_path)), dtype="bfloat16", lora=LoRA(r=2))
    model.configure_model()
    types = {(parameter.dtype, parameter.requires_grad) for parameter in model.parameters()}
    assert types == {(torch.float32, True), (torch.bfloat16, False)}
    (scores,) = model.score_steps([Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7."])])
    assert torch.isfinite(scores).all()


def test_a_checkpoint_without_the_adapters_is_refused(folder: Path, tmp_path: Path) -> None:
    path = fit(build(folder / "llama"), folder, tmp_path)
    with pytest.raises(ValueError, match=r"lacks 28 of the weights that model\.lora trains, .*lora_A"):
        fit(build(folder / "llama", LoRA(r=2)), folder, tmp_path / "again", ckpt_path=path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 0}, r"lora\.r is 0; it must be at least 1"),
        ({"dropout": 1.0}, r"lora\.dropout is 1\.0; it must be in \[0, 1\)"),
        ({"target_modules": []}, r"lora\.target_modules is empty"),
    ],
)
def test_impossible_adapters_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRA(**settings)


def test_a_layer_that_the_model_does_not_have_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="nothing_proj"):
        build_for_scoring(folder / "llama", LoRA(target_modules=["nothing_proj"]))
