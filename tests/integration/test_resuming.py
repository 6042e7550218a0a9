"""Stopping and resuming ``erprm fit``, as a user or a cluster does it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from erprm.cli import main
from erprm.data.records import write_records
from erprm.models import ProcessRewardModel
from tests.tiny import make_record, save_tiny_llama

CONFIG = """
trainer:
  accelerator: cpu
  devices: 1
  max_epochs: 1000
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {save_dir: logs, flush_logs_every_n_steps: 1}
model:
  backbone: lm
data:
  rollouts: rollouts.parquet
  validation_fraction: 0.2
  max_tokens: 300
  max_length: 300
  cache_dir: cache
  eta: 1.0
"""
SLURM = {
    "SLURM_NTASKS": "1",
    "SLURM_JOB_NAME": "train",
    "SLURM_JOB_ID": "77",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "localhost",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resuming")
    save_tiny_llama(folder / "lm")
    write_records([make_record(i, [[float(i % 2), 0.0, 1.0], [1.0]]) for i in range(20)], folder / "rollouts.parquet")
    (folder / "fit.yaml").write_text(CONFIG, encoding="utf-8")
    # What SLURM would do is written down instead.
    (folder / "bin").mkdir()
    (folder / "bin/scontrol").write_text(f'#!/bin/sh\necho "$@" >> {folder}/scontrol.log\n', encoding="utf-8")
    (folder / "bin/scontrol").chmod(0o755)
    return folder


def start(folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    path = f"{folder}/bin{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "erprm", "fit", "--config", "fit.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_signal_of_slurm_saves_and_requeues_and_the_resumption_needs_the_same_data_or_leave_to_differ(
    folder: Path,
) -> None:
    process = start(folder, **SLURM)
    while not list(folder.glob("logs/**/metrics.csv")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 128 + signal.SIGUSR1, output
    assert (folder / "scontrol.log").read_text(encoding="utf-8") == "requeue 77\n"
    saved = folder / "hpc_ckpt_1.ckpt"
    step = torch.load(saved, weights_only=True)["global_step"]
    assert f"SIGUSR1: saved step {step} to {saved}" in output

    changed = ["--ckpt_path=last", "--data.eta=.inf", "--data.max_tokens=400", f"--trainer.max_steps={step + 1}"]
    refused = start(folder, *changed)
    output, _ = refused.communicate(timeout=900)
    assert refused.returncode == 1
    assert "data.eta: 1.0 -> inf, data.max_tokens: 300 -> 400" in output
    assert "set data.allow_change to true" in output
    assert saved.exists()

    allowed = start(folder, *changed, "--data.allow_change=true")
    output, _ = allowed.communicate(timeout=900)
    assert allowed.returncode == 0, output
    assert "data.eta: 1.0 -> inf" in output
    finished = max(folder.glob("logs/**/*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    assert torch.load(finished, weights_only=True)["global_step"] == step + 1
    # Nothing is left for a later run to take for its own.
    assert not saved.exists()


class WithHyperparameters(ProcessRewardModel):
    knobs: list[int] = []  # noqa: RUF012 (what the commands made, for the test to look at)

    def __init__(self, backbone: str, knob: int = 1) -> None:
        super().__init__(backbone)
        self.save_hyperparameters()
        self.knobs.append(knob)


def test_the_command_line_wins_over_hyperparameters_in_a_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    command = ["--config=fit.yaml", f"--model={__name__}.WithHyperparameters", "--trainer.logger=false"]
    root = "--trainer.default_root_dir=hyper"
    assert main(["fit", *command, root, "--trainer.max_epochs=1"]) == 0
    (checkpoint,) = folder.glob("hyper/checkpoints/*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["knob"] == 1
    assert main(["validate", *command, root, "--model.knob=2", f"--ckpt_path={checkpoint}"]) == 0
    assert WithHyperparameters.knobs == [1, 2]
