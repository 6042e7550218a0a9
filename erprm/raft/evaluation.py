"""Evaluation of a policy on held-out problems: accuracy, distance moved, and overrating by the reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from erprm.metrics.estimate import Estimate
from erprm.raft.log_probs import mean_of_problems
from erprm.report.tables import Table, interval_text


@dataclass(frozen=True)
class EvaluatedProblem:
    """Evaluation of one held-out problem.

    Attributes:
        problem_id: its name.
        greedy_correct: whether the most likely solution is right.
        correct: whether each sampled solution is.
        scores: the reward model's score of each sampled solution, 0 where it could not be read; None without a model.
        log_ratios: ``log pi - log pi0`` of each sampled solution; None where it was not computed.
    """

    problem_id: str
    greedy_correct: bool
    correct: list[bool]
    scores: list[float] | None
    log_ratios: list[float] | None

    @property
    def pass_at_1(self) -> float:
        """Share of the sampled solutions that are right."""
        return sum(self.correct) / len(self.correct)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of the policy of one round, 0 for the initial one.

    Attributes:
        round: its number.
        problems: held-out problems.
        samples: sampled solutions of each.
        greedy: accuracy of the most likely solutions.
        pass_at_1: accuracy of sampled solutions.
        kl: Monte-Carlo estimate of KL(pi || pi0) per solution, in nats.
        kl_standard_error: of that.
        score: mean score of the sampled solutions; None without a reward model.
        gap: that score minus the accuracy of the same solutions: what the reward model overrates them by.
        cut_off: share of the sampled solutions that came to the limit of tokens.
    """

    round: int
    problems: int
    samples: int
    greedy: Estimate
    pass_at_1: Estimate
    kl: float
    kl_standard_error: float
    score: Estimate | None
    gap: Estimate | None
    cut_off: float

    def as_json(self) -> dict[str, Any]:
        """The content of a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Evaluation:
        """Restores an evaluation from the output of :meth:`as_json`."""
        estimates = {
            name: None if content[name] is None else Estimate(**content[name])
            for name in ("greedy", "pass_at_1", "score", "gap")
        }
        return cls(**{**content, **estimates})


def evaluate(number: int, problems: Sequence[EvaluatedProblem], cut_off: float) -> Evaluation:
    """The evaluation of a round from what was found for each problem.

    Args:
        number: of the round.
        problems: all with scores or none, all with log-ratios or none; none means that policy and initial policy are
            the same.
        cut_off: share of the sampled solutions that came to the limit of tokens.
    """
    kl, kl_standard_error = 0.0, 0.0
    log_ratios = [each.log_ratios for each in problems if each.log_ratios is not None]
    if log_ratios:
        kl, kl_standard_error = mean_of_problems(log_ratios)
    scores_P = [sum(each.scores) / len(each.scores) for each in problems if each.scores is not None]
    pass_P = [each.pass_at_1 for each in problems]
    return Evaluation(
        round=number,
        problems=len(problems),
        samples=len(problems[0].correct),
        greedy=Estimate.of([float(each.greedy_correct) for each in problems]),
        pass_at_1=Estimate.of(pass_P),
        kl=kl,
        kl_standard_error=kl_standard_error,
        score=Estimate.of(scores_P) if scores_P else None,
        gap=Estimate.of([s - p for s, p in zip(scores_P, pass_P, strict=True)]) if scores_P else None,
        cut_off=cut_off,
    )


def evaluations_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each round; intervals are 95%, the KL divergence has its standard error."""
    header = [
        "round",
        "greedy, %",
        "pass@1, %",
        "KL from the initial policy, nats",
        "mean score, %",
        "score - pass@1, points",
    ]
    rows = [
        [
            str(each.round) if each.round else "0 (initial policy)",
            interval_text(each.greedy),
            interval_text(each.pass_at_1),
            f"{each.kl:.2f} \u00b1 {each.kl_standard_error:.2f}",
            interval_text(each.score),
            interval_text(each.gap),
        ]
        for each in evaluations
    ]
    return Table("The policy of each round on held-out problems", header, rows)
