"""Saves the training when the process is asked to stop, and then ends it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_info

from erprm.runs.signals import STOPPING, Stopped, hand_back, take_over

log = logging.getLogger(__name__)

_PREFIX = "hpc_ckpt_"


class SaveOnSignal(L.Callback):
    """On SIGINT, SIGTERM or SIGUSR1 finishes the running batch, saves a checkpoint, and ends with 128 + the signal.

    The file is ``<default_root_dir>/hpc_ckpt_<n>.ckpt``, a name Lightning knows: ``ckpt_path="hpc"`` finds it, and in a
    SLURM job so does every ``fit`` without a ``ckpt_path``. It is removed once a run resumed from it has saved its own,
    or has ended. A signal during a validation ends that after its running batch; the validation is then repeated. A
    second signal does not wait for the batch, and nothing is saved.

    In a SLURM job, SIGUSR1 (or the environment's ``requeue_signal``) also puts the job back into the queue, unless the
    environment says ``auto_requeue=False``. While it trains this replaces Lightning 2.6's own handlers, which save in
    the middle of whatever is running. Several processes agree after each batch: one of them has to get the signal.
    """

    def __init__(self) -> None:
        self._received = 0
        self._is_training = False
        self._earlier_handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes over the signals."""
        self._received = 0
        self._earlier_handlers = take_over(self._note, STOPPING | {_requeue_signal(trainer) or signal.SIGTERM})
        self._is_training = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            if callable(earlier := self._earlier_handlers.get(number)):
                earlier(number, frame)
            raise Stopped(number)
        self._received = number

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        """Saves and ends, if there was a signal."""
        self._end_if_told(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        """Saves and ends, if there was a signal."""
        if trainer.validating and self._is_training:
            self._end_if_told(trainer)

    def _end_if_told(self, trainer: L.Trainer) -> None:
        number = self._received
        if trainer.world_size > 1:
            mine = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(mine, reduce_op="max"))
        if not number:
            return
        path = trainer.strategy.broadcast(_next_path(trainer.default_root_dir))
        trainer.save_checkpoint(path)
        _remove_predecessor(trainer)
        name = signal.Signals(number).name
        rank_zero_info(f"{name}: saved step {trainer.global_step} to {path}; to go on, resume with --ckpt_path={path}")
        if trainer.is_global_zero:
            if number == _requeue_signal(trainer):
                _requeue()
            raise SystemExit(128 + number)
        # A launcher that sees one of its processes fail would end the first one before it can do so itself.
        raise SystemExit(0)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes the file that this run was resumed from, if it was a signal's."""
        _remove_predecessor(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Hands the signals back."""
        self._end_training()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Hands the signals back; before the training and after it, there is nothing to save but a job to requeue."""
        self._end_training()
        if isinstance(exception, Stopped) and trainer.is_global_zero and exception.number == _requeue_signal(trainer):
            _requeue()

    def _end_training(self) -> None:
        self._is_training = False
        hand_back(self._earlier_handlers)
        self._earlier_handlers = {}


def _next_path(folder: str) -> str:
    numbers = [int(path.stem.removeprefix(_PREFIX)) for path in Path(folder).glob(f"{_PREFIX}[0-9]*.ckpt")]
    return str(Path(folder) / f"{_PREFIX}{max(numbers, default=0) + 1}.ckpt")


def _remove_predecessor(trainer: L.Trainer) -> None:
    resumed_from = Path(trainer.ckpt_path or "")
    if resumed_from.name.startswith(_PREFIX):
        trainer.strategy.remove_checkpoint(resumed_from)


def _requeue_signal(trainer: L.Trainer) -> int | None:
    """The signal after which a SLURM job goes back into the queue; None outside of one."""
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        return environment.requeue_signal
    return None


def _requeue() -> None:
    array_job = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array_job}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array_job else os.environ["SLURM_JOB_ID"]
    finished = subprocess.run(["scontrol", "requeue", job], check=False)
    if finished.returncode:
        log.error("scontrol requeue %s ended with status %d: the job was not put back", job, finished.returncode)
