"""The table that ends a run of the command line: what came out, and where it is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from erprm.callbacks.best_of_n import BestOfN
from erprm.callbacks.export import EXPORT_FILE, ExportHF
from erprm.callbacks.scoring import ScoringCallback, run_folder
from erprm.metrics.estimate import Curve
from erprm.models.training.newest_checkpoint import read_checkpoint
from erprm.report.tables import Table, interval_text

_BESIDE = {"majority": "majority", "pass": "pass@n"}
_FOOTNOTE = "of n candidates, accuracy in %; that of best-of-n with its 95% interval over problems"


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation came to.

    Attributes:
        epoch: the epoch it belongs to, counted from 0.
        values: the logged values, but for those of the training batches and of best-of-n.
        curves: for each :class:`BestOfN` that took part, by its name, the curve of each method.
        peaks: for each that was tested on enough candidates, its ``peak``.
    """

    epoch: int
    values: dict[str, float]
    curves: dict[str, dict[str, Curve]]
    peaks: dict[str, dict[str, int]]


class EvaluationRecord(L.Callback):
    """Notes what every evaluation of this process came to.

    Attributes:
        of_step: the evaluations, in their order, by the number of optimizer steps before them.
    """

    def __init__(self) -> None:
        self.of_step: dict[int, Evaluation] = {}
        self._noted: list[dict[str, Curve]] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes a validation."""
        if not trainer.sanity_checking:
            self._note(trainer)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes a test."""
        self._note(trainer)

    def _note(self, trainer: L.Trainer) -> None:
        callbacks = list(_of_kind(trainer, BestOfN))
        left_out = ("train/", *(f"{callback.name}/" for callback in callbacks))
        values = {
            name: value.item() for name, value in trainer.callback_metrics.items() if not name.startswith(left_out)
        }
        # With `every_n_epochs` a callback may still have the results of an earlier epoch.
        new = [each for each in callbacks if each.results and not any(each.results is old for old in self._noted)]
        self._noted = [callback.results for callback in callbacks]
        curves = {callback.name: callback.results for callback in new}
        peaks = {callback.name: callback.peak for callback in new if callback.peak is not None}
        self.of_step[trainer.global_step] = Evaluation(trainer.current_epoch, values, curves, peaks)


def run_table(trainer: L.Trainer, record: EvaluationRecord) -> Table:
    """What came out of a run that has just ended; its main process calls this.

    After ``fit`` the numbers are those of the best epoch, if a ``ModelCheckpoint`` with a ``monitor`` says which that
    is and this process has evaluated it; otherwise they are those of the last evaluation.
    """
    rows: list[list[str]] = []
    evaluation = list(record.of_step.values())[-1] if record.of_step else None
    if trainer.state.fn == TrainerFn.FITTING:
        best = best_checkpoint(trainer)
        if best is not None and best.monitor is not None:
            saved = read_checkpoint(Path(best.best_model_path))
            score = "" if best.best_model_score is None else f" = {best.best_model_score.item():.4f}"
            rows.append(["best epoch", f"{saved.get('epoch', 'unknown')} (from 0), by {best.monitor}{score}"])
            evaluation = record.of_step.get(saved.get("global_step", -1), evaluation)
        if evaluation is not None:
            rows.append(["numbers of", f"epoch {evaluation.epoch}"])
    elif model := trainer.ckpt_path or getattr(trainer.lightning_module, "backbone_path", None):
        rows.append(["model", shown_path(Path(model)) if Path(model).exists() else str(model)])
    rows += _result_rows(evaluation) if evaluation is not None else []
    rows += [[name, shown_path(path)] for name, path in _places(trainer)]
    return Table("Results", [], rows, footnote=_FOOTNOTE if any(", n = " in row[0] for row in rows) else "")


def _result_rows(evaluation: Evaluation) -> Iterator[list[str]]:
    for name, value in sorted(evaluation.values.items()):
        yield [name, f"{value:.4f}"]
    for name, curves in evaluation.curves.items():
        for n in curves["bon"].n:
            beside = [f"{label} {100 * curves[method].at(n).mean:.1f}" for method, label in _BESIDE.items()]
            yield [f"{name}, n = {n}", ", ".join([f"best-of-n {interval_text(curves['bon'].at(n))}", *beside])]
        if peak := evaluation.peaks.get(name):
            seen = f"n = {peak['n']}" if peak["n"] < peak["reach"] else f"none up to n = {peak['reach']}"
            yield [f"{name}, peak of best-of-n", f"{seen} [{peak['low']}, {peak['high']}], extrapolated"]


def _places(trainer: L.Trainer) -> Iterator[tuple[str, Path]]:
    """What was written where."""
    if trainer.state.fn == TrainerFn.FITTING:
        for path in exported_models(trainer):
            yield "exported model", path
        best = best_checkpoint(trainer)
        if best is not None:
            yield "checkpoint", Path(best.best_model_path)
    for folder in result_folders(trainer):
        yield "curves, samples", folder


def exported_models(trainer: L.Trainer) -> list[Path]:
    """The folders that :class:`ExportHF` has written."""
    folders = [callback.output for callback in _of_kind(trainer, ExportHF)]
    return [folder for folder in folders if (folder / EXPORT_FILE).is_file()]


def best_checkpoint(trainer: L.Trainer) -> ModelCheckpoint | None:
    """The callback that keeps the best checkpoint, or else one that keeps the newest; None if none has saved any."""
    saved = [callback for callback in _of_kind(trainer, ModelCheckpoint) if callback.best_model_path]
    return min(saved, key=lambda callback: callback.monitor is None, default=None)


def result_folders(trainer: L.Trainer) -> list[Path]:
    """The folders with what callbacks have written beside the values."""
    run = run_folder(trainer)
    if run is None:
        return []
    folders = dict.fromkeys(run / callback.folder for callback in _of_kind(trainer, ScoringCallback))
    return [folder for folder in folders if folder.is_dir()]


def shown_path(path: Path) -> str:
    """A path as one would type it: from the working folder on, if it lies there."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _of_kind(trainer: L.Trainer, kind: type[Any]) -> Iterator[Any]:
    return (callback for callback in trainer.callbacks if isinstance(callback, kind))  # type: ignore[attr-defined]
