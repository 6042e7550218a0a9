"""What a module has beside its backbone: trained, saved, and loaded back whole or not at all."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from erprm.callbacks import ExportHF
from erprm.cli import main
from erprm.data import ProcessRewardDataModule
from erprm.data.packing import StepBatch
from erprm.data.records import write_records
from erprm.engines.model_files import BESIDE_FILE, BackboneError
from erprm.models import AdaptedRewardModel, ProcessRewardModel
from erprm.models.backbone.lora import LoRA
from erprm.models.two_class import save_token_classifier
from erprm.steps import Solution, StepFormat
from tests.tiny import make_record, save_tiny_llama

SOLUTION = Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"])


class Headed(ProcessRewardModel):
    """A head of two classes, a child of the module, and a weight of the module itself."""

    classes = 2

    def build_backbone(self) -> PreTrainedModel:
        backbone = super().build_backbone()
        self.head = nn.Linear(backbone.config.hidden_size, self.classes)
        self.scale = nn.Parameter(torch.ones(()))
        return backbone

    def step_logits(self, batch: StepBatch) -> Tensor:
        assert self.backbone is not None
        hidden = self.backbone(**self.backbone_inputs(batch), output_hidden_states=True).hidden_states[-1]
        logits: Tensor = self.scale * self.head(hidden.flatten(0, 1)[batch.tag_index])[:, :2]
        return logits


class ThreeClasses(Headed):
    classes = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beside")
    save_tiny_llama(folder / "lm")
    write_records([make_record(i) for i in range(8)], folder / "r.parquet")
    return folder


def trained(folder: Path, output: Path, **settings: Any) -> Headed:
    data = ProcessRewardDataModule(str(folder / "r.parquet"), max_length=256, cache_dir=str(folder / "cache"))
    model = Headed(
        str(folder / "lm"), optimizer=lambda params: torch.optim.SGD(params, lr=0.5), scheduler=None, **settings
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=output,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ExportHF(str(output / "prm"))],
    )
    trainer.fit(model, data)
    trainer.save_checkpoint(output / "trained.ckpt")
    return model.eval()


@pytest.mark.parametrize("lora", [None, LoRA(r=2)], ids=["whole", "lora"])
def test_what_was_trained_beside_the_backbone_is_exported_and_loaded(
    lora: LoRA | None, folder: Path, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=rf"{BESIDE_FILE} holds 3 weights \(head.bias, ...\), which Headed has beside"):
        model = trained(folder, tmp_path, lora=lora)
    written = load_file(tmp_path / "prm" / BESIDE_FILE)
    assert written.keys() == {"head.weight", "head.bias", "scale"}
    assert torch.equal(written["head.weight"], model.head.weight)
    assert written["scale"] != 1.0
    (again,) = Headed.from_pretrained(tmp_path / "prm").score_steps([SOLUTION])
    torch.testing.assert_close(again, model.score_steps([SOLUTION])[0], atol=1e-6, rtol=0)


def test_the_export_command_writes_them_too(folder: Path, tmp_path: Path) -> None:
    model = trained(folder, tmp_path)
    keys = [f"--model={__name__}.Headed", f"--model.backbone={folder / 'lm'}", f"--ckpt_path={tmp_path}/trained.ckpt"]
    assert main(["export", *keys, f"--output={tmp_path / 'exported'}"]) == 0
    assert torch.equal(load_file(tmp_path / "exported" / BESIDE_FILE)["head.weight"], model.head.weight)


def test_a_folder_without_them_scores_nothing_but_may_be_trained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=rf"head.bias of Headed is random: '.*lm' holds no {BESIDE_FILE}"):
        Headed.from_pretrained(folder / "lm")
    data = ProcessRewardDataModule(
        str(folder / "r.parquet"), validation_fraction=0.5, max_length=256, cache_dir=str(folder / "cache")
    )
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    with pytest.raises(BackboneError, match=r"head\.bias of Headed is random"):
        trainer.validate(Headed(str(folder / "lm"), step_format="er_prm"), data, verbose=False)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ProcessRewardModel, "was written by Headed; for ProcessRewardModel it has besides 3 weights \\(head.bias"),
        (AdaptedRewardModel, "was written by Headed; for AdaptedRewardModel it has besides 3 weights \\(head.bias"),
        (ThreeClasses, r"head\.(weight|bias) is of shape \(2.*; ThreeClasses takes \(3"),
    ],
)
def test_another_class_is_refused(kind: type[ProcessRewardModel], message: str, folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path)
    with pytest.raises(BackboneError, match=message):
        kind.from_pretrained(tmp_path / "prm")


def test_a_file_that_lacks_one_is_refused(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path)

    class WithOneMore(Headed):
        def build_backbone(self) -> PreTrainedModel:
            self.shift = nn.Parameter(torch.zeros(2))
            return super().build_backbone()

    with pytest.raises(BackboneError, match=rf"{BESIDE_FILE} was written by Headed; for WithOneMore it lacks shift"):
        WithOneMore.from_pretrained(tmp_path / "prm")


def test_an_export_without_any_removes_those_of_an_earlier_one(folder: Path, tmp_path: Path) -> None:
    trained(folder, tmp_path)
    ProcessRewardModel.from_pretrained(folder / "lm").save_pretrained(tmp_path / "prm")
    assert not (tmp_path / "prm" / BESIDE_FILE).exists()
    ProcessRewardModel.from_pretrained(tmp_path / "prm")


def test_a_token_classifier_is_not_made_of_a_model_that_has_some(folder: Path, tmp_path: Path) -> None:
    class OwnWeightOnTop(ProcessRewardModel):
        def build_backbone(self) -> PreTrainedModel:
            self.shift = nn.Parameter(torch.zeros(2))
            return super().build_backbone()

    model = OwnWeightOnTop(str(folder / "lm"))
    model.configure_model()
    with pytest.raises(
        ValueError, match="OwnWeightOnTop has shift beside its backbone, which a token classifier lacks"
    ):
        save_token_classifier(model, tmp_path / "classifier")


def test_a_checkpoint_brings_its_step_format(folder: Path, tmp_path: Path) -> None:
    """Tags that were added to the tokenizer make the embedding grow."""
    step_format = StepFormat(tag="<step>", separator="\n\n", add_tokens=True)
    for output, lora in ((tmp_path / "whole", None), (tmp_path / "lora", LoRA(r=2))):
        model = trained(folder, output, lora=lora, step_format=step_format)
        again = Headed.load_from_checkpoint(output / "trained.ckpt", backbone=str(folder / "lm"), lora=lora).eval()
        assert again.step_format == step_format
        (scores,) = again.score_steps([SOLUTION])
        torch.testing.assert_close(scores, model.score_steps([SOLUTION])[0], atol=1e-6, rtol=0)
        with pytest.raises(ValueError, match=r"step_format\.tag: '<step>' -> ' ки'"):
            Headed.load_from_checkpoint(
                output / "trained.ckpt", backbone=str(folder / "lm"), lora=lora, step_format="er_prm"
            )
