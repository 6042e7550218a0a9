"""Descriptions of runs: how and when a model was trained, every setting of it, and the curves of the trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erprm.data.labels import label_eta
from erprm.report.candidates import RESULTS_FILE
from erprm.report.data_statistics import eta_name
from erprm.report.page.run_folders import Evaluation
from erprm.report.page.trainings import Training, day_and_minute, flat_settings, init_args, read_config


def described_runs(evaluations: Sequence[Evaluation], trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """For each run, by its name, what its files say of it.

    The training of a run is the one that exported the model that it evaluates, wherever that is among the runs;
    otherwise the one in the run's own folder.

    Returns:
        For each ``name``; ``labels``, ``eta``, ``backbone``, ``learning_rate``, ``seed``, ``began``, ``ended`` and
        ``tested``, texts, or null where nothing says so; and ``settings``, by their names.
    """
    names = dict.fromkeys([each.run for each in evaluations] + [each.run for each in trainings])
    return [_described(name, [each for each in evaluations if each.run == name], trainings) for name in names]


def _described(name: str, evaluations: Sequence[Evaluation], trainings: Sequence[Training]) -> dict[str, Any]:
    models = [(each.results["determined_by"].get("model") or {}).get("path") for each in evaluations]
    found = [each for each in trainings if any(map(each.wrote, models))] or [
        each for each in trainings if each.run == name
    ]
    training = found[0] if len(found) == 1 else None
    settings = {f"fit: {key}": text for key, text in flat_settings(training.config).items()} if training else {}
    for evaluation in evaluations[:1]:
        # best_of_n/NAME/results.json lies in the folder of the run.
        tested = read_config(evaluation.folder.parent.parent)
        if training is None or tested != training.config:
            settings |= {f"test: {key}": text for key, text in flat_settings(tested).items()}
    files = [each.folder / RESULTS_FILE for each in evaluations]
    began, ended = training.dates if training else (None, None)
    return {
        "name": name,
        **_labels(training, evaluations),
        "backbone": _text(training, "model", "backbone") or next(filter(None, models), None),
        "learning_rate": settings.get("fit: model.optimizer.lr"),
        "seed": settings.get("fit: seed_everything"),
        "began": began,
        "ended": ended,
        "tested": day_and_minute(max(file.stat().st_mtime for file in files)) if files else None,
        "settings": settings,
    }


def _labels(training: Training | None, evaluations: Sequence[Evaluation]) -> dict[str, str | None]:
    """By the training, or by the ablation that the run is of."""
    told = init_args(training.config, "data") if training else {}
    if not told:
        told = next((each.trained_on for each in evaluations if each.trained_on), {})
    labels, eta = told.get("labels"), told.get("eta")
    try:
        known = eta_name(label_eta(str(labels), eta)) if labels not in (None, "outcome") and eta is not None else None
    except ValueError:  # labels of another data module
        known = str(eta)
    return {"labels": None if labels is None else str(labels), "eta": known}


def _text(training: Training | None, part: str, key: str) -> str | None:
    value = init_args(training.config, part).get(key) if training else None
    return None if value is None else str(value)


def training_curves(trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """The trainings that have something to draw, each with a name that tells it from the others."""
    shown = [each for each in trainings if each.logged or each.validations]
    runs = [each.run for each in shown]
    return [
        {
            "name": each.run if runs.count(each.run) == 1 else f"{each.run}: {each.folder.name}",
            "logged": {name: [list(point) for point in points] for name, points in each.logged.items()},
            "validations": dict(each.validations),
        }
        for each in shown
    ]
