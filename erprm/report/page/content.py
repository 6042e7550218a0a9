"""Everything the page shows, as one JSON value: evaluations of the same pool, or of the same step labels, together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import erprm
from erprm.data.formats.importing import RecordImport
from erprm.data.labels import label_eta
from erprm.data.statistics import DataStatistics
from erprm.report.candidates import CANDIDATES_FILE, read_candidates
from erprm.report.data_statistics import eta_name
from erprm.report.page.described_runs import described_runs, training_curves
from erprm.report.page.run_folders import Evaluation, read_run, split_name
from erprm.report.page.solutions import browsable_solutions, differences_to_first_run
from erprm.report.page.trainings import Training
from erprm.report.tables import short_names


def label_histograms(paths: Sequence[str], etas: Sequence[float]) -> list[dict[str, Any]]:
    """A histogram for each data set.

    Args:
        paths: rollout folders or files, or JSON files that ``erprm data stats`` wrote.
        etas: at which etas labels of rollouts are counted.

    Returns:
        For each ``name``, ``bins`` (their names) and ``series``, each with ``name`` and ``counts``.

    Raises:
        ValueError: if a file holds no labels.
        FileNotFoundError: if there is no such file.
    """
    return [histogram for path in paths for histogram in _of_path(path, etas)]


def ablation_histograms(histograms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of an ablation, the same bins beside each other; labels of exactly 0 and 1 apart where they are known."""
    of_bins: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for each in histograms:
        bins, counts = _bins(each["edges"]), list(each["counts"])
        if "zeros" in each and "ones" in each:
            bins = ["exactly 0", *bins, "exactly 1"]
            counts = [each["zeros"], *counts, each["ones"]]
            counts[1] -= each["zeros"]
            counts[-2] -= each["ones"]
        of_bins.setdefault(tuple(bins), []).append({"name": str(each["name"]), "counts": counts})
    return [{"name": "the ablation", "bins": list(bins), "series": series} for bins, series in of_bins.items()]


def _of_path(path: str, etas: Sequence[float]) -> list[dict[str, Any]]:
    described = _statistics_file(Path(path))
    if described is None:
        statistics = DataStatistics(Path(path).name, [label_eta("er", eta) for eta in etas])
        statistics.add(RecordImport(path))
        if not statistics.solutions:
            raise ValueError(f"{path}: holds no labelled solution")
        described = [statistics.to_dict()]
    return [
        {"name": each["name"], "bins": _with_ends(len(each["labels"][0]["between"])), "series": _series(each["labels"])}
        for each in described
        if each["labels"]
    ]


def _statistics_file(path: Path) -> list[dict[str, Any]] | None:
    """The data sets that a file of ``erprm data stats`` describes; None if it is not such a file."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))["data"]
        keys = {"name", "labels"}
        return described if all(keys <= each.keys() for each in described) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # Solutions of another layout; the import of these says what is wrong with them.


def _series(labels: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": f"eta {eta_name(float(each['eta']))}", "counts": [each["zeros"], *each["between"], each["ones"]]}
        for each in labels
    ]


def _with_ends(inner: int) -> list[str]:
    return ["exactly 0", *_bins([number / inner for number in range(inner + 1)]), "exactly 1"]


def _bins(edges: Sequence[float]) -> list[str]:
    return [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]


def page_content(
    runs: Sequence[str],
    labels: Sequence[str] = (),
    etas: Sequence[float] = (0.0, 2.0, float("inf")),
    max_solutions: int = 20_000,
    title: str = "Process reward models, evaluated",
) -> dict[str, Any]:
    """Reads all that goes into the page.

    Args:
        runs: folders that ``erprm test``, ``erprm fit`` or ``erprm ablate`` wrote to, each as ``FOLDER`` or
            ``NAME=FOLDER``.
        labels: rollouts, or JSON files of ``erprm data stats``, for histograms of labels.
        etas: at which etas labels of rollouts are counted.
        max_solutions: about how many solutions of a pool can be looked at; 0 leaves the browser out.
        title: of the page.

    Raises:
        FileNotFoundError: if a folder does not exist, or holds no results.
        ValueError: if two runs have one name, or a file cannot be read or is not what this version writes.
    """
    evaluations: list[Evaluation] = []
    trainings: list[Training] = []
    ablations: list[dict[str, Any]] = []
    for name, folder in named_folders(runs):
        run = read_run(name, folder)
        evaluations += run.evaluations
        trainings += run.trainings
        ablations += [] if run.ablation is None else [run.ablation]
    return {
        "title": title,
        "version": erprm.__version__,
        "runs": described_runs(evaluations, trainings),
        "trainings": training_curves(trainings),
        "pools": _pools(evaluations, max_solutions),
        "steps": _steps([evaluation for evaluation in evaluations if evaluation.kind == "steps"]),
        "ablations": [ablation["curves"] for ablation in ablations],
        "labels": [
            *label_histograms(labels, etas),
            *(each for a in ablations for each in ablation_histograms(a.get("label_histograms", []))),
        ],
        "costs": [cost for ablation in ablations for cost in ablation.get("costs", [])],
    }


def named_folders(runs: Sequence[str]) -> list[tuple[str, Path]]:
    """Runs as they were given, each with its name or the end of its path that tells it from the others.

    Raises:
        ValueError: if two have one name.
    """
    given = [split_name(run) for run in runs]
    short = short_names([str(path) for _, path in given])
    named = [(name or end, path) for (name, path), end in zip(given, short, strict=True)]
    name, times = Counter(name for name, _ in named).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{times} runs are called {name!r}; give them names: erprm report NAME=FOLDER NAME=FOLDER")
    return named


# Pools ------------------------------------------------------------------------------------------------------------


def _same_pools(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations of the same candidates, graded and split in the same way, together."""
    of_pool: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        if evaluation.kind == "pool":
            by = evaluation.results["determined_by"]
            key = repr((by["pool"]["sha256"], *(by[name] for name in ("kind", "correct_threshold", "step_style"))))
            of_pool.setdefault(key, []).append(evaluation)
    return list(of_pool.values())


def _pools(evaluations: Sequence[Evaluation], max_solutions: int) -> list[dict[str, Any]]:
    pools = [_pool(of_pool, max_solutions) for of_pool in _same_pools(evaluations)]
    times = Counter(pool["name"] for pool in pools)
    for pool in pools:
        if times[pool["name"]] > 1:
            pool["name"] += f" ({pool['sha256'][:6]})"
    return pools


def _pool(evaluations: Sequence[Evaluation], max_solutions: int) -> dict[str, Any]:
    first = evaluations[0].results
    runs = [
        {"name": name, **_run_on_pool(evaluation.results)}
        for name, evaluation in zip(_distinct_names(evaluations), evaluations, strict=True)
    ]
    files = [evaluation.folder / CANDIDATES_FILE for evaluation in evaluations]
    missing = [str(file) for file in files if not file.is_file()]
    content = {
        "name": first["name"],
        "file": first["determined_by"]["pool"]["file"],
        "sha256": first["determined_by"]["pool"]["sha256"],
        "size": first["pool"],
        "runs": runs,
        "differences": [],
        "browser": None,
        "missing": missing,
    }
    if not missing:
        tables = [
            read_candidates(file, evaluation.results["pool"]["candidates"])
            for file, evaluation in zip(files, evaluations, strict=True)
        ]
        content["differences"] = differences_to_first_run(tables)
        if max_solutions:
            content["browser"] = browsable_solutions(tables, max_solutions)
    return content


def _run_on_pool(results: Mapping[str, Any]) -> dict[str, Any]:
    own = f"bon_{results['aggregation']}"
    return {
        "model": _model(results),
        "aggregation": results["aggregation"],
        "methods": results["methods"],
        "differences": [each for each in results["differences"] if own in (each["method"], each["baseline"])],
        "groups": results["groups"],
        "vote": results.get("entropic_vote"),
        "hacking": results["reward_hacking"],
    }


def _model(results: Mapping[str, Any]) -> dict[str, Any]:
    model = results["determined_by"].get("model") or {}
    return {key: model.get(key) for key in ("class", "path", "sha256")}


def _distinct_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """The name of each run, with that of the evaluation where a run has several."""
    times = Counter(evaluation.run for evaluation in evaluations)
    ends = short_names([str(evaluation.folder) for evaluation in evaluations])
    return [
        each.run if times[each.run] == 1 else f"{each.run}: {end}" for each, end in zip(evaluations, ends, strict=True)
    ]


# Step labels ------------------------------------------------------------------------------------------------------


def _steps(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Results on the same labelled solutions together."""
    of_data: dict[str, tuple[str, list[tuple[Evaluation, dict[str, Any]]]]] = {}
    for evaluation in evaluations:
        for name, results in evaluation.results["data"].items():
            sha256 = evaluation.results["determined_by"].get("data", {}).get(name, {}).get("sha256")
            of_data.setdefault(f"{name} {sha256}", (name, []))[1].append((evaluation, results))
    return [
        {
            "name": name,
            "runs": [
                _run_on_steps(run, *member)
                for run, member in zip(_distinct_names([each for each, _ in members]), members, strict=True)
            ],
        }
        for name, members in of_data.values()
    ]


def _run_on_steps(name: str, evaluation: Evaluation, results: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "model": _model(evaluation.results),
        "chosen_on": evaluation.results["threshold"].get("chosen_on"),
        **results,
    }
