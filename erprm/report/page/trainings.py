"""Trainings as the folders of runs keep them: their settings, and what was logged while they went on."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

CONFIG_FILE, METRICS_FILE = "resolved_config.yaml", "metrics.csv"
_POINTS = 400
_SECRETS = ("api_key", "password", "secret", "access_token", "auth_token")


@dataclass(frozen=True)
class Training:
    """A folder that ``erprm fit`` wrote to.

    Attributes:
        run: name of the run it belongs to.
        folder: where it is.
        config: its whole configuration; empty if it is not there.
        logged: logged value -> points (step, value), the loss and the learning rate.
        validations: for each ``BestOfN`` that was validated more than never, by name, its results, epoch after epoch.
    """

    run: str
    folder: Path
    config: Mapping[str, Any]
    logged: Mapping[str, list[tuple[int, float]]]
    validations: Mapping[str, list[dict[str, Any]]]

    @property
    def exported(self) -> list[str]:
        """The folders to which it wrote its model."""
        trainer = self.config.get("trainer")
        callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
        named = [each for each in callbacks if isinstance(each, dict)] if isinstance(callbacks, list) else []
        exports = [each.get("init_args") for each in named if str(each.get("class_path")).endswith("ExportHF")]
        return [str(each["output"]) for each in exports if isinstance(each, dict) and "output" in each]

    def wrote(self, model: str | None) -> bool:
        """True if a model's path is one it exported to, both as seen from where the commands ran."""
        return model is not None and any(Path(model).absolute() == Path(path).absolute() for path in self.exported)

    @property
    def dates(self) -> tuple[str, str]:
        """Beginning, and the last time it wrote down a value, by the dates of its files."""
        files = [self.folder / CONFIG_FILE, self.folder / METRICS_FILE, *self.folder.glob("best_of_n/*-step=*.json")]
        times = [file.stat().st_mtime for file in files if file.is_file()]
        return day_and_minute(min(times)), day_and_minute(max(times))


def day_and_minute(timestamp: float) -> str:
    """A time in UTC.

    >>> day_and_minute(0)
    '1970-01-01 00:00'
    """
    return datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%d %H:%M")


def read_trainings(run: str, folder: Path) -> list[Training]:
    """The trainings in a folder and below it, in the order of their paths.

    Raises:
        ValueError: if a file of one cannot be read.
    """
    places = {file.parent for name in (CONFIG_FILE, METRICS_FILE) for file in folder.glob(f"**/{name}")}
    found = (_training(run, place) for place in sorted(places))
    return [each for each in found if each is not None]


def _training(run: str, folder: Path) -> Training | None:
    config = read_config(folder)
    logged = _logged(folder / METRICS_FILE) if (folder / METRICS_FILE).is_file() else {}
    # `test` writes both files, too, but trains on nothing.
    if not (_is_of_training(config) or "train/loss" in logged):
        return None
    return Training(run, folder, config, logged, _validations(folder))


def read_config(folder: Path) -> dict[str, Any]:
    """The whole configuration that a command has left in a folder; empty if there is none.

    Raises:
        ValueError: if it is not YAML, or not of settings by name.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not readable YAML ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path}: holds a {type(config).__name__}; expected settings by name")
    return config


def _is_of_training(config: Mapping[str, Any]) -> bool:
    return init_args(config, "data").get("rollouts") is not None


def init_args(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The arguments of the model or of the data."""
    of_part = config.get(part)
    arguments = of_part.get("init_args") if isinstance(of_part, dict) else None
    return arguments if isinstance(arguments, dict) else {}


# Settings, one by one ---------------------------------------------------------------------------------------------


def flat_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Every setting by its path, as text, without those that look like secrets.

    >>> flat_settings({"data": {"class_path": "my.Data", "init_args": {"eta": 2.0, "paths": ["a"]}}})
    {'data': 'my.Data', 'data.eta': '2.0', 'data.paths': '["a"]'}
    """
    return {
        name: text
        for key, value in config.items()
        for name, text in _flat(str(key), value)
        if not name.rsplit(".", 1)[-1].lower().endswith(_SECRETS)
    }


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if "class_path" in value:
            yield name, str(value["class_path"])
        for key, each in value.items():
            if key == "init_args" and isinstance(each, dict):
                yield from (pair for inner, of in each.items() for pair in _flat(f"{name}.{inner}", of))
            elif key != "class_path":
                yield from _flat(f"{name}.{key}", each)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        numbers: dict[str, int] = defaultdict(int)
        for each in value:
            # By class rather than by place, so that one more in the list does not move the others.
            kind = str(each.get("class_path", "")).rsplit(".", 1)[-1] if isinstance(each, dict) else ""
            numbers[kind] += 1
            yield from _flat(f"{name}[{' '.join(filter(None, [kind, str(numbers[kind])]))}]", each)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, default=str)


# What was logged --------------------------------------------------------------------------------------------------


def _logged(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Loss and learning rate by step; of many points, means of neighbours."""
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    is_shown = name in ("train/loss", "val/loss") or (name or "").startswith("lr-")
                    if is_shown and text and math.isfinite(value := float(text)):
                        points[name].append((int(row["step"]), value))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"{path}: is not what Lightning's CSVLogger writes ({error!r})") from error
    return {name: _thinned(sorted(of_name)) for name, of_name in points.items()}


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most so many points that a chart can show them: each the last step of some neighbours, with their mean."""
    size = math.ceil(len(points) / _POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), max(1, size))]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _validations(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Results of best-of-n at the validation epochs, by the name of the pool; those of ``test`` are of no step."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in folder.glob("best_of_n/*-step=*.json"):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["step"]:
                point = {"epoch": found["epoch"], "step": found["step"], **found["curves"]["bon"]}
                by_name[found["name"]].append(
                    {key: point[key] for key in ("epoch", "step", "n", "mean", "low", "high")}
                )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: is not what BestOfN writes at a validation epoch ({error!r})") from error
    return {name: sorted(points, key=lambda point: point["step"]) for name, points in sorted(by_name.items())}
