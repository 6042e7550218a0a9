"""Evaluations of a policy while it learns: accuracy and score on held-out problems, and how they come apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from erprm.data.pools import GradedPool
from erprm.metrics.estimate import Curve
from erprm.metrics.evaluation import pool_curves, powers_of_two
from erprm.metrics.reward_hacking import reward_hacking
from erprm.raft.log_probs import mean_of_problems
from erprm.report.figures import draw_estimates, dress, empty_figure
from erprm.report.tables import Table, interval_text
from erprm.runs.atomic import write_figure


@dataclass(frozen=True)
class PolicyEvaluation:
    """The evaluation of the policy after a number of optimizer steps, by its sampled solutions of held-out problems.

    Attributes:
        step: optimizer steps so far.
        problems: held-out problems.
        samples: solutions of each.
        best_of_n: accuracy of the best-scored of n solutions; at n = 1 this is pass@1.
        score: its score; at n = 1 the mean score of the solutions.
        gap: score minus accuracy: what the reward model overrates the solution by.
        majority: accuracy of the majority vote of n.
        steps: mean number of steps of a solution.
        cut_off: share of the solutions that came to the limit of tokens.
        kl: Monte-Carlo estimate of KL(pi || pi0) per solution, in nats; None where the initial policy was not at hand.
        kl_standard_error: of that.
    """

    step: int
    problems: int
    samples: int
    best_of_n: Curve
    score: Curve
    gap: Curve
    majority: Curve
    steps: float
    cut_off: float
    kl: float | None = None
    kl_standard_error: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The line of a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> PolicyEvaluation:
        """Restores an evaluation from the output of :meth:`as_json`."""
        curves = {name: Curve(**value) for name, value in row.items() if isinstance(value, Mapping)}
        return cls(**{**row, **curves})


def evaluation_of(
    step: int, pool: GradedPool, scores_PN: Tensor, log_ratios: Sequence[Sequence[float]] | None
) -> PolicyEvaluation:
    """The evaluation from graded and scored solutions.

    Args:
        step: optimizer steps so far.
        pool: P problems with N solutions each.
        scores_PN: score of each solution, finite.
        log_ratios: ``log pi - log pi0`` of each, if known.
    """
    problems, samples = pool.correct_PN.shape
    ns = powers_of_two(samples)
    selected = reward_hacking(scores_PN, pool.correct_PN, pool.valid_PN, ns)
    kl, kl_standard_error = (None, None) if log_ratios is None else mean_of_problems(log_ratios)
    return PolicyEvaluation(
        step=step,
        problems=problems,
        samples=samples,
        best_of_n=selected.accuracy,
        score=selected.score,
        gap=selected.gap,
        majority=pool_curves(pool, ns)["majority"],
        steps=statistics.fmean(len(solution.steps) for solution in pool.solutions),
        cut_off=statistics.fmean(pool.cut_off),
        kl=kl,
        kl_standard_error=kl_standard_error,
    )


def evaluations_table(evaluations: Sequence[PolicyEvaluation]) -> Table:
    """A row for each evaluation; intervals are 95%, the KL divergence has its standard error."""
    n = evaluations[0].samples
    header = [
        "step",
        "pass@1, %",
        f"best of {n}, %",
        f"majority of {n}, %",
        "mean score, %",
        "score - pass@1, points",
        "steps",
        "KL, nats",
    ]
    rows = [
        [
            str(each.step) if each.step else "0 (initial policy)",
            *(
                interval_text(curve.at(at))
                for curve, at in (
                    (each.best_of_n, 1),
                    (each.best_of_n, n),
                    (each.majority, n),
                    (each.score, 1),
                    (each.gap, 1),
                )
            ),
            f"{each.steps:.1f}",
            _kl_text(each),
        ]
        for each in evaluations
    ]
    best = max(evaluations, key=lambda each: each.best_of_n.mean[0])
    fall = best.best_of_n.mean[0] - evaluations[-1].best_of_n.mean[0]
    footnote = f"highest pass@1 after {best.step} steps; the last policy is {100 * fall:.1f} points below it"
    return Table("The policy on held-out problems", header, rows, footnote=footnote)


def _kl_text(evaluation: PolicyEvaluation) -> str:
    if evaluation.kl is None:
        return "-"
    error = evaluation.kl_standard_error
    return f"{evaluation.kl:.2f}" + ("" if error is None else f" \u00b1 {error:.2f}")


def hacking_figure(evaluations: Sequence[PolicyEvaluation], path: Path) -> None:
    """Draws accuracy and mean score against optimizer steps; a PNG or SVG.

    A score that rises while accuracy falls is the reward model exploited.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
    """
    figure = empty_figure(7.5, 4.8)
    axes = figure.add_subplot()
    steps, n = [each.step for each in evaluations], evaluations[0].samples
    lines = {
        "pass@1": [each.best_of_n.at(1) for each in evaluations],
        f"best of {n}": [each.best_of_n.at(n) for each in evaluations],
        f"majority of {n}": [each.majority.at(n) for each in evaluations],
        "mean score": [each.score.at(1) for each in evaluations],
    }
    for name, estimates in lines.items():
        draw_estimates(axes, steps, estimates, name)
    dress(axes, "The policy on held-out problems", "optimizer steps", "accuracy and score, %")
    write_figure(figure, path)
