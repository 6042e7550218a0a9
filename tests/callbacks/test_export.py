from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from erprm.callbacks import ExportHF
from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from erprm.steps import Solution, StepFormat
from tests.tiny import assert_same_model, make_record, save_tiny_llama

SOLUTION = Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"])
STEP_FORMAT = StepFormat(separator="\n\n")


def trainer(folder: Path, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **settings,
    )


def trained(folder: Path, *callbacks: L.Callback, **settings: Any) -> ProcessRewardModel:
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
    trainer(folder, *callbacks, **settings).fit(model, data)
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


def test_a_fast_dev_run_leaves_an_earlier_export_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "prm").mkdir()
    (tmp_path / "prm" / "config.json").write_text("earlier")
    trained(tmp_path, ExportHF(str(tmp_path / "prm")), fast_dev_run=True)
    assert [file.name for file in (tmp_path / "prm").iterdir()] == ["config.json"]
    assert (tmp_path / "prm" / "config.json").read_text() == "earlier"


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
