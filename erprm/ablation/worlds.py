"""Ablations of independent worlds as one: means over worlds, with intervals that hold all that differs between them.

Shape suffixes: W worlds, C numbers n of candidates.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from statistics import fmean
from typing import TypeVar

from erprm.ablation.results import Ablation, CostRow, MethodCurve, within_0_and_1
from erprm.metrics.estimate import Curve
from erprm.metrics.functional.resampling import student_t_interval

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def over_worlds(worlds: Sequence[Ablation]) -> Ablation:
    """The means over two or more worlds, one number a world, with intervals by Student's t over these numbers.

    Differences, doublings and gains are paired within worlds. What one of the worlds does not have, such as an
    aggregation or an n, is left out. Intervals of accuracies are cut off at 0 and 1.
    """
    votes = {vote: _method_curves(curves) for vote, curves in _of_all([world.votes for world in worlds]).items()}
    return Ablation(
        _method_curves([world.curves for world in worlds]),
        _mean_curves([world.differences for world in worlds]),
        _mean_curves([world.doublings for world in worlds]),
        {name: within_0_and_1(curve) for name, curve in _mean_curves([world.pool for world in worlds]).items()},
        worlds[0].aggregation,
        "worlds",
        {vote: curves for vote, curves in votes.items() if curves},
        _mean_curves([world.vote_gains for world in worlds]),
    )


def costs_of_worlds(worlds: Sequence[Sequence[CostRow]]) -> list[CostRow]:
    """The costs of all worlds, those of one stage of one kind of label in one row."""
    rows: dict[tuple[str, str], CostRow] = {}
    for cost in chain.from_iterable(worlds):
        row = rows.setdefault((cost.name, cost.stage), CostRow(cost.name, cost.stage, [], [], [], []))
        for column in ("seconds", "cpu_seconds", "peak_bytes", "cuda_peak_bytes"):
            getattr(row, column).extend(getattr(cost, column))
    return list(rows.values())


def _of_all(of_worlds: Sequence[Mapping[Key, Value]]) -> dict[Key, list[Value]]:
    """What all the worlds have, by its key."""
    first, *others = of_worlds
    return {key: [each[key] for each in of_worlds] for key in first if all(key in other for other in others)}


def _method_curves(of_worlds: Sequence[Sequence[MethodCurve]]) -> list[MethodCurve]:
    keyed = [{(each.name, each.aggregation): each for each in curves} for curves in of_worlds]
    found = []
    for (name, aggregation), of_methods in _of_all(keyed).items():
        ns, values_WC = _values([each.curve for each in of_methods])
        curve = within_0_and_1(_mean_curve(ns, values_WC))
        found.append(MethodCurve(name, of_methods[0].eta, aggregation, curve, [], values_WC))
    return found


def _mean_curves(of_worlds: Sequence[Mapping[Key, Curve]]) -> dict[Key, Curve]:
    return {key: _mean_curve(*_values(curves)) for key, curves in _of_all(of_worlds).items()}


def _mean_curve(ns: list[int], values_WC: list[list[float]]) -> Curve:
    low_C, high_C = student_t_interval(values_WC)
    return Curve(ns, list(map(fmean, zip(*values_WC, strict=True))), low_C.tolist(), high_C.tolist())


def _values(curves: Sequence[Curve]) -> tuple[list[int], list[list[float]]]:
    """The numbers n that all curves have, and the mean of each curve at each of them, [W, C]."""
    ns = [n for n in curves[0].n if all(n in curve.n for curve in curves)]
    return ns, [[curve.at(n).mean for n in ns] for curve in curves]
