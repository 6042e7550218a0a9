"""Results of an ablation over eta: models compared for each kind of label; docs/ablation.md describes the file.

Shape suffixes: S seeds, P problems, N candidates, C numbers n of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erprm.data.pools import GradedPool
from erprm.data.statistics import LABEL_BINS, LabelHistogram
from erprm.metrics.estimate import Curve
from erprm.metrics.evaluation import pool_curves, powers_of_two, score_values
from erprm.metrics.functional.aggregation import Aggregation, aggregate_pool
from erprm.metrics.functional.best_of_n import best_of_n_curves
from erprm.metrics.functional.resampling import seeds_and_problems_interval, without_rounding
from erprm.report.pool_results import score_aggregations


@dataclass(frozen=True)
class LabelMethodScores:
    """The models of one way of making labels.

    Attributes:
        name: such as ``eta 2`` or ``outcome``.
        eta: of the labels; None for those of outcomes only.
        step_scores: for each seed, for each candidate of the pool the scores of its steps.
    """

    name: str
    eta: float | None
    step_scores: Sequence[Sequence[Tensor]]


@dataclass(frozen=True)
class MethodCurve:
    """Accuracy of what the models of one way of making labels choose, with intervals over seeds and problems.

    Attributes:
        name: of the way.
        eta: of the labels; None for those of outcomes only.
        aggregation: of step scores.
        curve: accuracy, a mean over seeds and problems.
        by_seed: accuracy at each n, for each seed; empty over worlds.
        by_world: accuracy at each n, for each world; empty of one world.
    """

    name: str
    eta: float | None
    aggregation: Aggregation
    curve: Curve
    by_seed: list[list[float]]
    by_world: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "name": self.name,
            "eta": eta_in_json(self.eta),
            "aggregation": self.aggregation,
            **_curve_in_json(self.curve, "accuracy"),
            **({"by_world": self.by_world} if self.by_world else {"by_seed": self.by_seed}),
        }


@dataclass(frozen=True)
class Ablation:
    """Everything that the models' scores say.

    Attributes:
        curves: best-of-n of each way of making labels, by each aggregation that the scores allow.
        differences: accuracy of each two ways at each n, the first minus the second, by the chosen aggregation.
        doublings: for each way, accuracy at n minus accuracy at half of it, by the chosen aggregation.
        pool: what the pool reaches without scores.
        aggregation: the chosen one.
        intervals_over: ``worlds``, ``seeds and problems``, or ``problems of one seed``; of one world, those of
            ``pool`` are over problems.
        votes: for each vote, ``weighted_vote`` and ``entropic_vote``, a curve of each way of making labels, by the
            chosen aggregation; without those whose scores allow no such vote.
        vote_gains: for each way, accuracy of the entropic vote minus that of best-of-n, by the chosen aggregation.
    """

    curves: list[MethodCurve]
    differences: dict[tuple[str, str], Curve]
    doublings: dict[str, Curve]
    pool: dict[str, Curve]
    aggregation: Aggregation
    intervals_over: str
    votes: dict[str, list[MethodCurve]] = field(default_factory=dict)
    vote_gains: dict[str, Curve] = field(default_factory=dict)

    @property
    def chosen(self) -> list[MethodCurve]:
        """The curves by the chosen aggregation."""
        return [each for each in self.curves if each.aggregation == self.aggregation]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "aggregation": self.aggregation,
            "curves": [each.to_dict() for each in self.curves],
            "differences": [
                {"name": name, "baseline": baseline, **_curve_in_json(curve, "difference")}
                for (name, baseline), curve in self.differences.items()
            ],
            "doublings": _by_name_in_json(self.doublings),
            "votes": {vote: [each.to_dict() for each in curves] for vote, curves in self.votes.items()},
            "vote_gains": _by_name_in_json(self.vote_gains),
            "pool": {method: asdict(curve) for method, curve in self.pool.items()},
        }


def compare(
    methods: Sequence[LabelMethodScores], graded: GradedPool, aggregation: Aggregation, votes: bool = False
) -> Ablation:
    """Compares ways of making labels on one pool.

    Accuracies, differences and doublings come with 95% intervals by
    :func:`erprm.metrics.functional.resampling.seeds_and_problems_interval`, those of accuracies cut off at 0 and 1.
    Differences are paired: the same problems, the same candidates, and the same seed, hence the same order of the
    training data.

    Args:
        methods: their scores, all with the same seeds.
        graded: the pool.
        aggregation: the one that differences, doublings and votes are given for.
        votes: whether candidates also vote, weighted by their scores, and by the optimal policy of the
            :func:`erprm.metrics.default_eta` of each model's scores. It takes a while where candidates are many.
    """
    ns = powers_of_two(int(graded.valid_PN.sum(1).min()))
    curves, chosen_SPC, gains_SPC = [], {}, {}
    vote_curves: dict[str, list[MethodCurve]] = {}
    for method in methods:
        for each in score_aggregations(list(chain.from_iterable(method.step_scores)), aggregation):
            values_SPC = torch.stack([_best_of_n(step_scores, graded, each, ns) for step_scores in method.step_scores])
            curves.append(_method_curve(method, each, values_SPC, ns))
            if each == aggregation:
                chosen_SPC[method.name] = values_SPC
        votes_SPC = _votes(method, graded, aggregation, ns) if votes else {}
        for vote, values_SPC in votes_SPC.items():
            vote_curves.setdefault(vote, []).append(_method_curve(method, aggregation, values_SPC, ns))
        if "entropic_vote" in votes_SPC:
            gains_SPC[method.name] = without_rounding(votes_SPC["entropic_vote"] - chosen_SPC[method.name])
    return Ablation(
        curves,
        {
            (one, other): _mean_curve(chosen_SPC[one] - chosen_SPC[other], ns)
            for other, one in combinations(chosen_SPC, 2)
        },
        {
            name: _mean_curve(values_SPC[..., 1:] - values_SPC[..., :-1], ns[1:])
            for name, values_SPC in chosen_SPC.items()
            if len(ns) > 1
        },
        pool_curves(graded, ns),
        aggregation,
        "seeds and problems" if len(methods[0].step_scores) > 1 else "problems of one seed",
        vote_curves,
        {name: _mean_curve(values_SPC, ns) for name, values_SPC in gains_SPC.items()},
    )


def _best_of_n(step_scores: Sequence[Tensor], graded: GradedPool, aggregation: Aggregation, ns: list[int]) -> Tensor:
    scores_PN = aggregate_pool(step_scores, graded.valid_PN, aggregation)
    return best_of_n_curves(scores_PN, graded.correct_PN, graded.valid_PN)[:, torch.tensor(ns) - 1]


def _votes(method: LabelMethodScores, graded: GradedPool, aggregation: Aggregation, ns: list[int]) -> dict[str, Tensor]:
    """Values of each vote that the scores of all seeds allow, [S, P, C]."""
    of_seeds = [
        score_values(graded, aggregate_pool(step_scores, graded.valid_PN, aggregation))
        for step_scores in method.step_scores
    ]
    return {
        vote: torch.stack([values[vote] for values in of_seeds])[..., torch.tensor(ns) - 1]
        for vote in of_seeds[0]
        if vote != "bon" and all(vote in values for values in of_seeds)
    }


def _method_curve(
    method: LabelMethodScores, aggregation: Aggregation, values_SPC: Tensor, ns: list[int]
) -> MethodCurve:
    curve = within_0_and_1(_mean_curve(values_SPC, ns))
    return MethodCurve(method.name, method.eta, aggregation, curve, values_SPC.mean(1).tolist())


def within_0_and_1(curve: Curve) -> Curve:
    """The curve with intervals cut off at the bounds of an accuracy."""
    return Curve(curve.n, curve.mean, [max(0.0, low) for low in curve.low], [min(1.0, high) for high in curve.high])


def _mean_curve(values_SPC: Tensor, ns: list[int]) -> Curve:
    low_C, high_C = seeds_and_problems_interval(values_SPC)
    return Curve(list(ns), values_SPC.double().mean((0, 1)).tolist(), low_C.tolist(), high_C.tolist())


def _curve_in_json(curve: Curve, mean: str) -> dict[str, Any]:
    return {"n": curve.n, mean: curve.mean, "low": curve.low, "high": curve.high}


def _by_name_in_json(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    return [{"name": name, **_curve_in_json(curve, "difference")} for name, curve in curves.items()]


def eta_in_json(eta: float | None) -> float | str | None:
    """An eta as JSON has it: infinite ones as text, ``inf`` or ``-inf``."""
    return str(eta) if eta is not None and math.isinf(eta) else eta


def histogram_in_json(name: str, eta: float | None, histogram: LabelHistogram) -> dict[str, Any]:
    """A histogram of labels: bins of equal width over [0, 1], the first with the zeros, the last with the ones."""
    counts = histogram.between.copy()
    counts[0] += histogram.zeros
    counts[-1] += histogram.ones
    return {
        "name": name,
        "eta": eta_in_json(eta),
        "edges": np.linspace(0, 1, LABEL_BINS + 1).round(6).tolist(),
        "counts": counts.tolist(),
        "zeros": histogram.zeros,
        "ones": histogram.ones,
        "mean": histogram.mean if histogram.count else None,
    }


@dataclass(frozen=True)
class CostRow:
    """Cost of one stage, one value per seed, of several worlds per world and seed.

    Attributes:
        name: such as ``ER, eta 2``.
        stage: ``training``, ``scoring``, or ``labelling``.
        seconds: by the clock.
        cpu_seconds: on CPUs; None where it was not measured.
        peak_bytes: the most memory its process held; None where it was not measured.
        cuda_peak_bytes: the most that tensors held on the GPU; 0 without one, None where it was not measured.
    """

    name: str
    stage: str
    seconds: list[float]
    cpu_seconds: list[float | None]
    peak_bytes: list[int | None]
    cuda_peak_bytes: list[int | None]


def cost_name(eta: float | None) -> str:
    """A way of making labels by the name the field has for it.

    >>> cost_name(2.0), cost_name(0.0), cost_name(float("inf")), cost_name(None)
    ('ER, eta 2', 'soft (eta 0)', 'hard (eta inf)', 'outcome')
    """
    if eta is None:
        return "outcome"
    return {0.0: "soft (eta 0)", math.inf: "hard (eta inf)"}.get(eta, f"ER, eta {eta:g}")


def ablation_content(
    ablation: Ablation,
    runs: Sequence[Mapping[str, Any]],
    histograms: Sequence[Mapping[str, Any]],
    costs: Sequence[CostRow],
    seeds: Sequence[int],
    worlds: Sequence[int] = (),
) -> dict[str, Any]:
    """Content of ``ablation.json``; of one world without ``worlds``."""
    return {
        "format": "erprm-ablation",
        "version": 1,
        **({"worlds": list(worlds)} if worlds else {}),
        "seeds": list(seeds),
        "intervals": f"95%, over {ablation.intervals_over}",
        "runs": list(runs),
        **ablation.to_dict(),
        "label_histograms": list(histograms),
        "costs": [asdict(cost) for cost in costs],
    }
