"""The evaluations that ``erprm test`` has left in a folder, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import erprm
from erprm.report.candidates import RESULTS_FILE
from erprm.report.page.trainings import Training, read_trainings

ABLATION_FILE = "ablation.json"
ABLATION_FORMAT, ABLATION_VERSION = "erprm-ablation", 1

# key -> type of its value: what the page takes from the results of a pool, and of step labels.
_POOL_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "determined_by": dict,
    "pool": dict,
    "aggregation": str,
    "methods": dict,
    "differences": list,
    "groups": dict,
    "reward_hacking": (dict, type(None)),
}
_STEP_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "determined_by": dict,
    "threshold": dict,
    "data": dict,
}
_ABLATION_KEYS: Mapping[str, type | tuple[type, ...]] = {"runs": list, "curves": list}


@dataclass(frozen=True)
class Evaluation:
    """One folder of results.

    Attributes:
        run: name of the run it belongs to.
        kind: whether candidates of a pool were ranked, or labelled steps judged.
        folder: where it is.
        results: what ``results.json`` holds.
        trained_on: ``labels`` and ``eta`` of the model, if an ablation says so.
    """

    run: str
    kind: Literal["pool", "steps"]
    folder: Path
    results: dict[str, Any]
    trained_on: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContent:
    """Content of the folder of a run.

    Attributes:
        evaluations: its evaluations; of an ablation those of the first seed of each setting.
        trainings: its trainings; of an ablation those of the same seeds.
        ablation: the content of the file of an ablation, if it is one.
    """

    evaluations: list[Evaluation]
    trainings: list[Training]
    ablation: dict[str, Any] | None = None


def split_name(run: str) -> tuple[str | None, Path]:
    """A run as it was given: ``FOLDER``, or ``NAME=FOLDER`` where no folder is called that."""
    name, equals, path = run.partition("=")
    if equals and name and not Path(run).exists():
        return name, Path(path)
    return None, Path(run)


def read_run(name: str, folder: Path) -> RunContent:
    """Every evaluation and every training in a folder, its own and those below it.

    Raises:
        FileNotFoundError: if there is no such folder, or neither results nor a training in it.
        ValueError: if a file of results cannot be read, or is not what this version writes.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{str(folder)!r} is not a folder; expected one that erprm test wrote to")
    files = [folder / RESULTS_FILE] if (folder / RESULTS_FILE).is_file() else []
    files += sorted(path for kind in ("best_of_n", "steps") for path in folder.glob(f"**/{kind}/*/{RESULTS_FILE}"))
    if (folder / ABLATION_FILE).is_file():
        ablation = read_ablation(folder / ABLATION_FILE)
        evaluations = _ablated_runs(folder / ABLATION_FILE, ablation)
        # best_of_n/NAME/results.json lies in the folder of the run.
        of_runs = {each.run: each.folder.parent.parent for each in evaluations}
        trainings = [training for run, place in of_runs.items() for training in read_trainings(run, place)]
        return RunContent(evaluations, trainings, ablation)
    trainings = read_trainings(name, folder)
    if not files and not trainings:
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {RESULTS_FILE}; expected a folder that erprm test wrote to, with "
            f"best_of_n/NAME/{RESULTS_FILE} or steps/NAME/{RESULTS_FILE} in it, or one that erprm fit wrote to"
        )
    return RunContent([read_evaluation(name, path) for path in files], trainings)


def read_evaluation(run: str, path: Path) -> Evaluation:
    """One file of results.

    Raises:
        ValueError: if it is not JSON, or lacks what this version of the package writes.
    """
    results = _read_object(path)
    determined_by = results.get("determined_by")
    versions = determined_by.get("versions") if isinstance(determined_by, dict) else None
    writer = versions.get("erprm", "unknown") if isinstance(versions, dict) else "unknown"
    if "threshold" in results and "data" in results:
        _check_keys(path, results, _STEP_KEYS, writer)
        for of_data in results["data"].values():
            _check_keys(path, of_data, {"processbench": dict, "sweep": dict}, writer)
        return Evaluation(run, "steps", path.parent, results)
    _check_keys(path, results, _POOL_KEYS, writer)
    _check_keys(path, determined_by, {"pool": dict, "correct_threshold": (int, float), "step_style": str}, writer)
    _check_keys(path, results["determined_by"]["pool"], {"file": str, "sha256": str}, writer)
    _check_keys(path, results["pool"], {"candidates": int}, writer)
    for method, curve in results["methods"].items():
        _check_curve(path, curve, f"methods.{method}")
    if results.get("entropic_vote") is not None:
        curves = results["entropic_vote"].get("curves") if isinstance(results["entropic_vote"], dict) else None
        for number, curve in enumerate(curves if isinstance(curves, list) and curves else [None]):
            _check_curve(path, curve, f"entropic_vote.curves[{number}]")
    if results["reward_hacking"] is not None:
        for name in ("accuracy", "score", "gap", "outscored"):
            _check_curve(path, results["reward_hacking"].get(name), f"reward_hacking.{name}")
    return Evaluation(run, "pool", path.parent, results)


def read_ablation(path: Path) -> dict[str, Any]:
    """Reads the file that ``erprm ablate`` writes.

    Raises:
        ValueError: if it is not JSON, of another format or version, or lacks a key.
    """
    content = _read_object(path)
    found = content.get("format"), content.get("version")
    if found != (ABLATION_FORMAT, ABLATION_VERSION):
        raise ValueError(
            f"{path}: is of format {found[0]!r}, version {found[1]!r}; expected {ABLATION_FORMAT!r}, {ABLATION_VERSION}"
        )
    _check_keys(path, content, _ABLATION_KEYS, erprm.__version__)
    for number, curve in enumerate(content["curves"]):
        _check_curve(path, curve, f"curves[{number}]", mean="accuracy")
    return content


def _ablated_runs(file: Path, ablation: Mapping[str, Any]) -> list[Evaluation]:
    """The first seed of each setting: those of all seeds are in the curves."""
    evaluations: dict[str, Evaluation] = {}
    for run in ablation["runs"]:
        _check_keys(file, run, {"name": str, "results": str}, erprm.__version__)
        if run["name"] not in evaluations:
            path = file.parent / run["results"]
            if not path.is_file():
                raise FileNotFoundError(f"{file}: names {str(path)!r}, which does not exist")
            trained_on = {key: run[key] for key in ("labels", "eta") if key in run}
            evaluations[run["name"]] = replace(read_evaluation(run["name"], path), trained_on=trained_on)
    return list(evaluations.values())


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}; expected an object")
    return content


def _check_keys(path: Path, found: object, keys: Mapping[str, type | tuple[type, ...]], written_by: str) -> None:
    entries = found if isinstance(found, dict) else {}
    wrong = [key for key, kind in keys.items() if key not in entries or not isinstance(entries[key], kind)]
    if wrong:
        raise ValueError(
            f"{path}: {', '.join(map(repr, wrong))} missing or of another type; this is not what version "
            f"{erprm.__version__} writes (written by: {written_by})"
        )


def _check_curve(path: Path, curve: object, name: str, mean: str = "mean") -> None:
    names: Sequence[str] = ("n", mean, "low", "high")
    lists = [curve.get(each) for each in names] if isinstance(curve, dict) else []
    if not lists or not all(isinstance(each, list) and len(each) == len(lists[0] or []) for each in lists):
        raise ValueError(f"{path}: {name} is not a curve; expected lists {', '.join(names)} of one length")
