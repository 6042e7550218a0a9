"""Histograms of step labels at several eta, from rollouts, from ``erprm data stats --json``, or from an ablation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from erprm.data.formats.importing import RecordImport
from erprm.data.labels import label_eta
from erprm.data.statistics import DataStatistics
from erprm.report.data_statistics import eta_name


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
