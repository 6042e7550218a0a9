import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from erprm.callbacks import Throughput
from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from tests.tiny import make_record, save_tiny_llama

PAUSE = 2.0


class SlowValidation(L.Callback):
    """Takes its time at the end of every validation epoch, as an evaluation of candidates would."""

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        time.sleep(PAUSE)


class Recorder(L.Callback):
    """Keeps what was logged after every batch, and when."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.times.append(time.perf_counter())
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.logged.append({name: value for name, value in metrics.items() if name.startswith("throughput/")})


def make_trainer(folder: Path, *callbacks: L.Callback, **settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **settings,
    )


def fit(folder: Path, *callbacks: L.Callback, **settings: Any) -> None:
    write_records([make_record(i) for i in range(16)], folder / "r.parquet")
    data = ProcessRewardDataModule(
        str(folder / "r.parquet"), validation_fraction=0.25, max_length=64, max_tokens=64, cache_dir=str(folder / "c")
    )
    trainer = make_trainer(folder, *callbacks, **settings)
    trainer.fit(ProcessRewardModel(str(save_tiny_llama(folder / "lm")), scheduler=None), data)


def test_rates_are_logged_and_stand_in_the_ratio_of_the_counts(tmp_path: Path) -> None:
    recorder = Recorder()
    fit(tmp_path, Throughput(every_n_steps=2), recorder)
    # Not yet after the first step, which is left out, nor in the middle of the two that follow.
    assert recorder.logged[:2] == [{}, {}]
    rates = recorder.logged[2]
    assert set(rates) == {f"throughput/{name}_per_s" for name in ("tokens", "solutions", "steps", "tflops")}
    assert min(rates.values()) > 0
    # 12 solutions for training, all in batches of the same number, since all are of about the same length.
    per_step = rates["throughput/solutions_per_s"] / rates["throughput/steps_per_s"]
    assert per_step == pytest.approx(round(per_step))
    assert rates["throughput/tokens_per_s"] > 20 * rates["throughput/solutions_per_s"]


def test_validation_and_what_callbacks_do_in_it_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder()
    fit(tmp_path, Throughput(every_n_steps=4), SlowValidation(), recorder, val_check_interval=2)
    place = next(place for place, rates in enumerate(recorder.logged) if rates)
    counted = 4 / recorder.logged[place]["throughput/steps_per_s"]
    # The four steps are those after the first, with a pause before the third and the fifth. On a busy machine they take
    # longer, and so does all of it: what is counted and the pauses fit into it, to the moments between two clocks.
    elapsed = recorder.times[place] - recorder.times[place - 4]
    assert counted < elapsed - 2 * PAUSE + 0.5


def test_a_foreign_module_logs_its_steps(tmp_path: Path) -> None:
    class Foreign(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            loss: torch.Tensor = self.layer(batch).sum()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    recorder = Recorder()
    trainer = make_trainer(tmp_path, Throughput(every_n_steps=2), recorder)
    trainer.fit(Foreign(), torch.utils.data.DataLoader(torch.ones(3, 1)))  # type: ignore[arg-type]
    assert list(recorder.logged[-1]) == ["throughput/steps_per_s"]


def test_every_n_steps_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps is 0; it must be at least 1"):
        Throughput(every_n_steps=0)
