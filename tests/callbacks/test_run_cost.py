import json
import time
from pathlib import Path

import lightning as L
import pytest
import torch

from erprm.callbacks import RunCost
from erprm.data import ProcessRewardDataModule
from erprm.data.process_memory import peak_memory
from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from tests.tiny import make_record, save_tiny_llama


def fit(folder: Path, output: str, ckpt_path: Path | None = None, epochs: int = 1) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[RunCost(str(folder / output))],
    )
    data = ProcessRewardDataModule(
        str(folder / "rollouts.parquet"), validation_fraction=0.2, cache_dir=str(folder / "cache")
    )
    trainer.fit(ProcessRewardModel(str(folder / "lm"), scheduler=None), data, ckpt_path=ckpt_path)
    return trainer


def test_a_continued_training_counts_with_what_it_had_taken(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "lm")
    write_records([make_record(i) for i in range(10)], tmp_path / "rollouts.parquet")
    started = time.perf_counter()
    trainer = fit(tmp_path, "first.json")
    first = json.loads((tmp_path / "first.json").read_text(encoding="utf-8"))
    assert 0 < first["seconds"] < time.perf_counter() - started
    assert first["cuda_peak_bytes"] == 0

    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    (state,) = (value for name, value in checkpoint["callbacks"].items() if name.startswith("RunCost"))
    state["seconds"], state["peak_bytes"] = 1000.0, 10**15
    torch.save(checkpoint, tmp_path / "a.ckpt")
    started = time.perf_counter()
    fit(tmp_path, "both.json", tmp_path / "a.ckpt", epochs=2)
    both = json.loads((tmp_path / "both.json").read_text(encoding="utf-8"))
    assert 1000 < both["seconds"] < 1000 + time.perf_counter() - started
    assert both["peak_bytes"] == 10**15

    # Killed after its last checkpoint, and before it wrote what it took.
    fit(tmp_path, "at_its_end.json", tmp_path / "a.ckpt")
    at_its_end = json.loads((tmp_path / "at_its_end.json").read_text(encoding="utf-8"))
    assert at_its_end["seconds"] == pytest.approx(1000, abs=0.1)


def test_the_peak_stays_when_memory_is_given_back() -> None:
    block = torch.ones(75_000_000)  # 300 MB
    during = peak_memory()
    del block
    assert during > 300e6
    # The kernel counts a few pages late.
    assert peak_memory() > during - 10e6


def test_the_peak_is_what_linux_says() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc here")
    fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    assert peak_memory() == pytest.approx(int(fields["VmHWM"].split()[0]) * 1024, rel=0.01)
