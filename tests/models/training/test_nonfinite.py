import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch import Tensor

from erprm.data import ProcessRewardDataModule
from erprm.data.packing import StepBatch
from erprm.data.records import write_records
from erprm.models import NonFiniteGradientError, NonFiniteLossError, ProcessRewardModel
from tests.tiny import make_record, save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finite")
    save_tiny_llama(folder / "lm")
    write_records([make_record(i) for i in range(12)], folder / "train.parquet")
    write_records([make_record(i) for i in range(2)], folder / "validation.parquet")
    return folder


class BrokenAt(ProcessRewardModel):
    """Breaks the loss or the gradient of the optimizer step numbered ``step``, in its second batch."""

    step = 2
    what = "loss"
    seen: list[list[str]]

    def step_logits(self, batch: StepBatch) -> Tensor:
        logits_S2 = super().step_logits(batch)
        if not self.training:
            return logits_S2
        if self.trainer.fit_loop.total_batch_idx == 0:
            self.seen = []
        self.seen.append(list(batch.record_ids))
        if len(self.seen) != 2 * self.step + 2:
            return logits_S2
        if self.what == "loss":
            return logits_S2 * math.nan
        # The derivative of the root is infinite at 0, and 0 times that is no number; the value is 0.
        return logits_S2 + 0.0 * (0.0 * logits_S2).sum().abs().sqrt()


def fit(model: ProcessRewardModel, folder: Path, output: Path, **settings: Any) -> None:
    data = ProcessRewardDataModule(
        str(folder / "train.parquet"),
        validation_rollouts=str(folder / "validation.parquet"),
        max_tokens=100,
        max_length=100,
        cache_dir=str(folder / "cache"),
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(output, every_n_train_steps=1, save_top_k=-1, save_last=True, save_on_exception=True),
            OnExceptionCheckpoint(output),
        ],
        **settings,
    )
    trainer.fit(model, data)


def test_a_loss_that_is_no_number_names_the_records_of_its_batch_and_keeps_the_last_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    model = BrokenAt(str(folder / "lm"), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), scheduler=None)
    with pytest.raises(NonFiniteLossError) as error:
        fit(model, folder, tmp_path)
    (broken,) = model.seen[-1:]
    assert str(error.value) == f"loss is nan at optimizer step 2, batch 5, with the records: {', '.join(broken)}"
    # Nothing was saved on the exception: neither the callback's file, nor another last.ckpt.
    assert {path.name for path in tmp_path.iterdir()} == {"epoch=0-step=1.ckpt", "epoch=0-step=2.ckpt", "last.ckpt"}
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    # The weights are those after the second step, too.
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved["state_dict"][name])


def test_a_gradient_that_is_no_number_names_the_records_of_all_batches_of_the_step(
    folder: Path, tmp_path: Path
) -> None:
    model = BrokenAt(str(folder / "lm"), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), scheduler=None)
    model.what = "gradient"
    with pytest.raises(NonFiniteGradientError) as error:
        fit(model, folder, tmp_path, gradient_clip_val=1.0)
    records = ", ".join(name for names in model.seen[-2:] for name in names)
    assert str(error.value) == f"gradient norm is nan at optimizer step 2, batch 4, 5, with the records: {records}"
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
