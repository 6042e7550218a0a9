"""Calibrations of models: saved beside a model, read back for that model alone, and applied to its scores.

All scorers of the package that hold a model (:class:`erprm.models.ProcessRewardModel` and its heirs, and those of
served models) take the setting ``calibration`` and give their scores to :func:`calibrated`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from erprm.engines.model_files import model_path, weight_files
from erprm.errors import InputError
from erprm.metrics.functional.calibration_map import CalibrationMap
from erprm.runs.atomic import write_finite_json
from erprm.runs.identity import CALIBRATION_FILE, model_key, named_chunks, sha256_of
from erprm.scoring import ScorerError

AUTO = "auto"


class ModelCalibration:
    """A calibration from its file, for the model that it was fitted to.

    Attributes:
        file: where it was read.
        map: from scores to probabilities.
    """

    def __init__(self, setting: str, model: str) -> None:
        """Reads the file.

        Args:
            setting: the file, or ``auto`` for ``calibration.json`` beside the model.
            model: folder or hub id of the model.

        Raises:
            InputError: if there is no such file, or it holds no calibration; names it.
        """
        self.file = _file_of(setting, model)
        try:
            content = _content(self.file)
            self.map = CalibrationMap(content["method"], content["parameters"])
            self._model = {name: content["model"][name] for name in ("weights", "step_format")}
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            why = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{self.file}: holds no calibration, as erprm calibrate writes it: {why}") from error
        self._is_checked = False

    def check(self, scorer: Any) -> None:
        """Refuses the calibration of another model.

        Raises:
            ScorerError: naming the file and what differs.
        """
        if self._is_checked:
            return
        own = calibrated_model(scorer)
        for name, meaning in (("weights", "the weights are others"), ("step_format", "the step format is another")):
            if own[name] != self._model[name]:
                raise ScorerError(
                    f"{self.file}: is not the calibration of {scorer.backbone_path!r} as it is loaded: {meaning} "
                    f"({_short(self._model[name])} and {_short(own[name])}). Make one with erprm calibrate, or leave "
                    "calibration out"
                )
        self._is_checked = True

    def identity(self) -> dict[str, Any]:
        """What of it determines scores, as JSON values."""
        return {"method": self.map.method, "parameters": dict(self.map.parameters)}


def read_calibration(setting: str | None, model: str) -> ModelCalibration | None:
    """The calibration that a setting names, if it names one; see :class:`ModelCalibration`."""
    return None if setting is None else ModelCalibration(setting, model)


def calibrated(scores: Sequence[Tensor], scorer: Any) -> list[Tensor]:
    """Step scores as probabilities by the scorer's ``calibration``; without one as they are.

    Raises:
        ScorerError: if it is that of another model.
    """
    calibration: ModelCalibration | None = scorer.calibration
    if calibration is None:
        return list(scores)
    calibration.check(scorer)
    return [calibration.map(each) for each in scores]


def calibrated_model(scorer: Any) -> dict[str, Any]:
    """The model of a scorer, by its ``backbone_path`` and ``step_format``, to tell a calibration from that of another.

    Returns:
        ``name``: folder or hub id, which may change; ``weights``: SHA-256 of the weight files, or where there are none
        here, as for some served models, the key of the folder or hub id; ``step_format``: its fields, but for the date
        of a chat.
    """
    path, gguf_file = model_path(scorer.backbone_path), getattr(scorer, "gguf_file", None)
    try:
        files = [Path(path, gguf_file)] if gguf_file else weight_files(path)
    except FileNotFoundError:  # of a hub id: nothing has been downloaded
        files = []
    step_format = {name: value for name, value in scorer.step_format.to_dict().items() if name != "chat_date"}
    weights = sha256_of(named_chunks(files)) if files else model_key(path)
    return {"name": scorer.backbone_path, "weights": weights, "step_format": step_format}


def write_calibration(found: CalibrationMap, scorer: Any, facts: Mapping[str, Any], file: Path) -> None:
    """Writes a calibration of a scorer's model, and what else is known of it: data and quality."""
    content = {"method": found.method, "parameters": dict(found.parameters), "model": calibrated_model(scorer), **facts}
    write_finite_json(content, file)


def refuse_other_file(file: Path) -> None:
    """Refuses to write a calibration in the place of anything but a calibration.

    Raises:
        InputError: naming the file.
    """
    if file.is_dir():
        raise InputError(f"output: {str(file)!r} is a folder; it must be a file")
    if file.exists():
        try:
            known = {"method", "parameters", "model"} <= _content(file).keys()
        except (ValueError, RecursionError):
            known = False
        if not known:
            raise InputError(f"output: {str(file)!r} is there, and no calibration; give another file")


def _content(file: Path) -> dict[str, Any]:
    """The object in a file of JSON."""
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("model", {}), dict):
        raise ValueError("it must be an object of JSON, and so must its model")
    return content


def _file_of(setting: str, model: str) -> Path:
    if setting != AUTO:
        if not (file := Path(setting).expanduser()).is_file():
            raise InputError(f"calibration: {setting!r} is not a file; it must be one, or auto")
        return file
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(model_path(model), CALIBRATION_FILE, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise InputError(f"calibration is auto, but {model!r} cannot be found: {error}") from error
    if found is None:
        raise InputError(
            f"calibration is auto, but {model!r} has no {CALIBRATION_FILE}; make it with erprm calibrate (not for fit)"
        )
    return Path(found)


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) > 12 else str(value)
