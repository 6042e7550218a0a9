"""Tests of what the strategies refuse, and of their use on a GPU; test_two_ranks.py has the rest."""

import os
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

from erprm.callbacks import ExportHF
from erprm.models import FSDP2Strategy, ProcessRewardModel
from erprm.models.distributed.sharding import mixed_precision, unsplit_layers
from tests.tiny import make_llama, make_record, save_tiny_llama


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    pytest.importorskip("pyarrow")
    from erprm.data.records import write_records

    environment = dict(os.environ)
    save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i) for i in range(20)], tmp_path / "r.parquet")
    yield tmp_path
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    # Lightning leaves the address of the process group there, for later tests and what they start.
    os.environ.clear()
    os.environ.update(environment)


def fit(
    folder: Path, model: L.LightningModule, strategy: str, accelerator: str = "cpu", precision: str = "32-true"
) -> None:
    from erprm.data import ProcessRewardDataModule

    data = ProcessRewardDataModule(
        str(folder / "r.parquet"), validation_fraction=0.2, max_length=256, max_tokens=600, cache_dir=str(folder / "c")
    )
    trainer = L.Trainer(
        accelerator=accelerator, devices=1, strategy=strategy, precision=precision, max_epochs=1, logger=False,  # type: ignore[arg-type]
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, gradient_clip_val=1.0,
        default_root_dir=folder, callbacks=[ExportHF(str(folder / "prm"))],
    )  # fmt: skip
    trainer.fit(model, data)


def test_a_shard_size_that_does_not_divide_the_processes_is_refused() -> None:
    strategy = FSDP2Strategy(shard_size=3)
    strategy.parallel_devices = [torch.device("cpu")] * 8
    with pytest.raises(ValueError, match=r"shard_size is 3; it must divide the number of processes, 8"):
        strategy.setup_environment()
    with pytest.raises(ValueError, match=r"shard_size is 0; it must be at least 1"):
        FSDP2Strategy(shard_size=0)


def test_float16_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"precision is '16-true'; with FSDP2 it must be 32-true, bf16-mixed or"):
        fit(folder, ProcessRewardModel(str(folder / "lm")), "fsdp2", precision="16-true")


def test_bf16_mixed_sums_gradients_in_float32() -> None:
    policy = mixed_precision("bf16-mixed")
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)


def test_a_model_that_names_no_decoder_layers_is_told_to() -> None:
    with pytest.raises(ValueError, match=r"Linear does not say which .* \(it names none\): override layer_classes\(\)"):
        unsplit_layers(nn.Linear(1, 1))
    assert {cls.__name__ for cls in unsplit_layers(make_llama(340))} == {"LlamaDecoderLayer"}


def test_a_weight_that_comes_too_late_to_be_sharded_is_named(folder: Path) -> None:
    class Late(ProcessRewardModel):
        def configure_model(self) -> None:
            super().configure_model()
            self.late = nn.Linear(2, 1)

    with pytest.raises(ValueError, match=r"2 weight\(s\) of Late are not sharded, such as late\.weight"):
        fit(folder, Late(str(folder / "lm")), "fsdp2")


def test_a_head_beside_the_backbone_is_sharded_too(folder: Path) -> None:
    class Beside(ProcessRewardModel):
        def __init__(self, backbone: str) -> None:
            super().__init__(backbone)
            self.head = nn.Linear(2, 2)

        def step_logits(self, batch: object) -> torch.Tensor:
            logits_S2: torch.Tensor = self.head(super().step_logits(batch))  # type: ignore[arg-type]
            return logits_S2

    model = Beside(str(folder / "lm"))
    fit(folder, model, "fsdp2")
    assert all(hasattr(parameter, "full_tensor") for parameter in model.head.parameters())


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("strategy", ["fsdp", "fsdp2"])
def test_both_kinds_of_sharding_train_and_export_on_a_gpu(strategy: str, precision: str, folder: Path) -> None:
    fit(folder, ProcessRewardModel(str(folder / "lm")), strategy, accelerator="cuda", precision=precision)
    assert ProcessRewardModel.from_pretrained(folder / "prm").backbone is not None
