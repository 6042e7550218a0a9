"""Writes the trained model as a Hugging Face folder."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn

from erprm.callbacks.best_of_n import BestOfN
from erprm.models import ProcessRewardModel
from erprm.models.hub import open_repository, upload
from erprm.models.model_card import Publication, write_card
from erprm.runs.atomic import remove_leftovers, write_json
from erprm.runs.lock import sole_writer

EXPORT_FILE = "export.json"
"""Says which run has written a folder, and which of its weights."""


class ExportHF(L.Callback):
    """Calls the module's ``save_pretrained`` at the end of training.

    ``fast_dev_run`` writes nothing. Of several processes the first makes the call; under a strategy that shards the
    weights all make it, since no process has them whole: there the module has to gather them, and to write on the first
    process only, as :class:`erprm.models.ProcessRewardModel` does.
    """

    def __init__(
        self,
        output: str,
        which: Literal["last", "best"] | None = None,
        overwrite: bool = False,
        push_to_hub: str | None = None,
        licence: str | None = None,
    ) -> None:
        """Names the folder.

        Args:
            output: folder to write; what the same training wrote there before it was resumed is replaced.
            which: ``last``, the weights at the end of training; or ``best``, those of the best checkpoint of the
                ``ModelCheckpoint`` with a ``monitor``, which the module has after ``fit``, too. By default the last
                ones, with a warning if there is such a ``ModelCheckpoint``.
            overwrite: replace a model in the folder that another training has written.
            push_to_hub: repository ``ORG/NAME`` of the Hugging Face hub to upload the folder to, with a model card. It
                shows the last results of ``BestOfN``, if the weights are the last ones. If the upload fails,
                ``erprm export --push`` uploads a checkpoint.
            licence: the hub's identifier of the licence, such as ``apache-2.0``, for the card.

        Raises:
            ValueError: if ``which`` is something else.
        """
        if which not in ("last", "best", None):
            raise ValueError(f"which is {which!r}; it must be last or best")
        self.output = Path(output)
        self._held = ExitStack()
        self.which = which
        self.overwrite = overwrite
        self.push_to_hub = push_to_hub
        self.licence = licence
        self._run = uuid.uuid4().hex
        self._is_written = False

    @property
    def state_key(self) -> str:
        """Tells instances in one trainer apart."""
        return self._generate_state_key(output=str(self.output))

    def state_dict(self) -> dict[str, Any]:
        """The name of the run, by which one that is resumed knows its own folder."""
        return {"run": self._run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the name of the run that is resumed."""
        self._run = state_dict["run"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Finds out before training whether writing will work, and makes the folder.

        Raises:
            TypeError: if the module has no ``save_pretrained``, or is to be pushed and is no
                :class:`erprm.models.ProcessRewardModel`.
            InputError: if it cannot be pushed: the name, the token or what the repository holds.
            HubError: if the hub refuses it.
            InUseError: if another command is going to write it.
            ValueError: if ``which`` is ``best``, and there is not one ``ModelCheckpoint`` with a ``monitor``.
            OSError: if the folder cannot be made.
        """
        if stage != "fit":
            return
        self._is_written = False
        if not callable(getattr(pl_module, "save_pretrained", None)):
            raise TypeError(
                f"ExportHF needs a module with save_pretrained(folder); {type(pl_module).__name__} has none"
            )
        if self.push_to_hub is not None and not isinstance(pl_module, ProcessRewardModel):
            raise TypeError(f"push_to_hub needs a ProcessRewardModel; {type(pl_module).__name__} is none")
        if trainer.is_global_zero:
            if self.push_to_hub is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
                open_repository(self.push_to_hub)
            self._held.enter_context(sole_writer(self.output))
        monitored = _monitored(trainer)
        if self.which == "best" and len(monitored) != 1:
            raise ValueError(
                f"ExportHF: which is best, but {len(monitored)} ModelCheckpoint callbacks have a monitor and keep "
                "checkpoints; it must be one"
            )
        if self.which is None and monitored:
            rank_zero_warn(
                f"ExportHF writes the last weights to {self.output}, though ModelCheckpoint keeps the best by "
                f"{monitored[0].monitor}: set which to best, or to last"
            )
        self.output.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuses a folder with a model of another training; only now it is known which training is resumed.

        Raises:
            FileExistsError: if there is one, and ``overwrite`` is false.
        """
        if self.overwrite or trainer.fast_dev_run or not (self.output / "config.json").exists():  # type: ignore[attr-defined]
            return
        marker = self.output / EXPORT_FILE
        if not marker.is_file() or json.loads(marker.read_text(encoding="utf-8")).get("run") != self._run:
            raise FileExistsError(
                f"ExportHF: {self.output} holds a model that this training did not write; give another output, or "
                "set overwrite to true"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the last weights."""
        if self.which != "best":
            self._write(trainer, pl_module, "last", trainer.global_step)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Loads and writes the best weights; nothing saves a checkpoint any more.

        Writes the last ones if the training was resumed after its end, when Lightning leaves out ``on_train_end``.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self.which != "best":
            if not self._is_written:
                self._write(trainer, pl_module, "last", trainer.global_step)
            return
        (callback,) = _monitored(trainer)
        path = trainer.strategy.broadcast(callback.best_model_path)
        if not path:
            rank_zero_warn(f"ExportHF: no checkpoint with {callback.monitor} was saved; these are the last weights")
            self._write(trainer, pl_module, "last", trainer.global_step)
            return
        checkpoint = trainer.strategy.load_checkpoint(path, weights_only=True)
        trainer.strategy.load_model_state_dict(checkpoint, strict=pl_module.strict_loading)
        self._write(trainer, pl_module, f"best by {callback.monitor}: {path}", checkpoint["global_step"])

    def _write(self, trainer: L.Trainer, module: L.LightningModule, weights: str, steps: int) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._is_written = True
        if trainer.is_global_zero:
            # First, so that a run that is killed while it writes finds the folder its own.
            content = {"run": self._run, "weights": weights, "trained_steps": steps}
            remove_leftovers(self.output, EXPORT_FILE)
            write_json(content, self.output / EXPORT_FILE)
        if trainer.is_global_zero or isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            module.save_pretrained(self.output)  # type: ignore[operator]
        if trainer.is_global_zero and self.push_to_hub is not None:
            self._push(trainer, module, self.push_to_hub, is_last=weights == "last")

    def _push(self, trainer: L.Trainer, module: L.LightningModule, name: str, *, is_last: bool) -> None:
        assert isinstance(module, ProcessRewardModel)
        data = trainer.datamodule  # type: ignore[attr-defined]
        trained_on = data.state_dict().get("identity", {}) if data is not None else {}
        evaluated = [callback for callback in trainer.callbacks if isinstance(callback, BestOfN)] if is_last else []  # type: ignore[attr-defined]
        curves = {callback.name: callback.results for callback in evaluated}
        write_card(self.output, module, Publication(name, trained_on, curves, self.licence))
        upload(self.output, name)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Lets others write the folder."""
        self._held.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Lets others write the folder."""
        self._held.close()


def _monitored(trainer: L.Trainer) -> list[ModelCheckpoint]:
    return [
        callback
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None and callback.save_top_k != 0
    ]
