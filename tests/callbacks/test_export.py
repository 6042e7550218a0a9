import json
import uuid
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from erprm.callbacks import ExportHF
from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.errors import InputError
from erprm.models import ProcessRewardModel
from erprm.steps import Solution, StepFormat
from tests.hub_server import hub_server
from tests.tiny import assert_same_model, make_record, save_tiny_llama

SOLUTION = Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"])
STEP_FORMAT = StepFormat(separator="\n\n")


def trainer(folder: Path, *callbacks: L.Callback, epochs: int = 1, **settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **settings,
    )


def trained(folder: Path, *callbacks: L.Callback, ckpt_path: Path | None = None, **settings: Any) -> ProcessRewardModel:
    write_records([make_record(i) for i in range(8)], folder / "r.parquet")
    data = ProcessRewardDataModule(
        str(folder / "r.parquet"), validation_fraction=0.25, max_length=256, cache_dir=str(folder / "cache")
    )
    model = ProcessRewardModel(
        str(save_tiny_llama(folder / "lm")),
        step_format=STEP_FORMAT,
        optimizer=lambda params: torch.optim.SGD(params, lr=1.0),
        scheduler=None,
    )
    trainer(folder, *callbacks, **settings).fit(model, data, ckpt_path=ckpt_path)
    return model


def test_the_folder_holds_the_trained_weights_and_the_step_format(tmp_path: Path) -> None:
    model = trained(tmp_path, ExportHF(str(tmp_path / "prm")))
    assert model.backbone is not None
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "prm").state_dict()
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "lm").state_dict()
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(written[name], weight)
    assert not torch.equal(written["lm_head.weight"], before["lm_head.weight"])

    loaded = ProcessRewardModel.from_pretrained(tmp_path / "prm")
    assert loaded.step_format == STEP_FORMAT
    assert_same_model(loaded, model.eval(), [SOLUTION])


def test_the_folder_is_pushed_to_the_hub_with_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = hub_server(monkeypatch, tmp_path / "cache")
    export = ExportHF(str(tmp_path / "prm"), push_to_hub="team/prm", licence="mit")
    trained(tmp_path, export, fast_dev_run=True)
    assert server.files == {}
    model = trained(tmp_path, ExportHF(str(tmp_path / "prm"), push_to_hub="team/prm", licence="mit"))
    card = server.files["team/prm"]["README.md"].decode()
    assert 'license: "mit"' in card
    assert "| labels | er |" in card
    assert "| hash of the rollouts | " in card
    assert_same_model(ProcessRewardModel.from_pretrained("team/prm"), model.eval(), [SOLUTION])


def test_a_repository_that_is_refused_ends_the_run_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it must be ORG/NAME"):
        trained(tmp_path, ExportHF(str(tmp_path / "prm"), push_to_hub="prm"))
    assert not (tmp_path / "prm").exists()


def test_a_fast_dev_run_leaves_an_earlier_export_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "prm").mkdir()
    (tmp_path / "prm" / "config.json").write_text("earlier")
    trained(tmp_path, ExportHF(str(tmp_path / "prm")), fast_dev_run=True)
    assert [file.name for file in (tmp_path / "prm").iterdir()] == ["config.json"]
    assert (tmp_path / "prm" / "config.json").read_text() == "earlier"


class WorseAndWorse(L.Callback):
    """Logs a value that is best in the first epoch."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("quality", torch.tensor(-float(trainer.current_epoch)))


def best_checkpoint(folder: Path, **settings: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "checkpoints", monitor="quality", mode="max", **settings)


def newest_checkpoint(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "checkpoints", filename="last", enable_version_counter=False)


def test_best_exports_the_weights_of_the_best_checkpoint(tmp_path: Path) -> None:
    checkpoint = best_checkpoint(tmp_path)
    callbacks = [WorseAndWorse(), checkpoint, newest_checkpoint(tmp_path)]
    trained(tmp_path, *callbacks, ExportHF(str(tmp_path / "prm"), which="best"), epochs=2)
    paths = (checkpoint.best_model_path, tmp_path / "checkpoints/last.ckpt")
    checkpoints = [torch.load(path, weights_only=True) for path in paths]
    best, last = (each["state_dict"] for each in checkpoints)
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "prm").state_dict()
    assert not torch.equal(best["backbone.lm_head.weight"], last["backbone.lm_head.weight"])
    for name, weight in written.items():
        assert torch.equal(weight, best[f"backbone.{name}"])
    marker = json.loads((tmp_path / "prm/export.json").read_text(encoding="utf-8"))
    assert marker["weights"] == f"best by quality: {checkpoint.best_model_path}"
    # Two epochs of equal length, of which the first was the best.
    assert 2 * marker["trained_steps"] == checkpoints[1]["global_step"]


def test_the_last_weights_beside_a_best_checkpoint_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="writes the last weights .* keeps the best by quality: set which to best"):
        trained(tmp_path, WorseAndWorse(), best_checkpoint(tmp_path), ExportHF(str(tmp_path / "prm")))


def test_best_without_a_checkpoint_to_choose_by_is_refused_before_training(tmp_path: Path) -> None:
    for callbacks in ([], [ModelCheckpoint(tmp_path)], [best_checkpoint(tmp_path, save_top_k=0)]):
        with pytest.raises(ValueError, match="which is best, but 0 ModelCheckpoint callbacks have a monitor"):
            trained(tmp_path, *callbacks, ExportHF(str(tmp_path / "prm"), which="best"))


def test_the_model_of_another_training_is_replaced_only_where_that_is_said(tmp_path: Path) -> None:
    trained(tmp_path, newest_checkpoint(tmp_path), ExportHF(str(tmp_path / "prm")))
    before = (tmp_path / "prm/model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match=r"prm holds a model that this training did not write; .* overwrite"):
        trained(tmp_path, ExportHF(str(tmp_path / "prm")))
    with pytest.raises(FileExistsError, match="lm holds a model that this training did not write"):
        trained(tmp_path, ExportHF(str(tmp_path / "lm")))
    assert (tmp_path / "prm/model.safetensors").read_bytes() == before

    left_over = tmp_path / f"prm/.export.json.{uuid.uuid4().hex}.tmp"
    left_over.touch()  # by a kill
    resumed = [newest_checkpoint(tmp_path), ExportHF(str(tmp_path / "prm"))]
    trained(tmp_path, *resumed, epochs=2, ckpt_path=tmp_path / "checkpoints/last.ckpt")
    after = (tmp_path / "prm/model.safetensors").read_bytes()
    assert after != before
    assert not left_over.exists()
    trained(tmp_path, ExportHF(str(tmp_path / "prm"), overwrite=True))
    assert (tmp_path / "prm/model.safetensors").read_bytes() != after


class WithoutExport(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        raise AssertionError("training has started")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_module_that_cannot_be_exported_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"save_pretrained.*WithoutExport"):
        trainer(tmp_path, ExportHF(str(tmp_path / "prm"))).fit(WithoutExport(), torch.ones(4, 1))


def test_an_output_that_is_a_file_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileExistsError, match="taken"):
        trained(tmp_path, ExportHF(str(tmp_path / "taken")))
