"""Evaluation of a policy on held-out problems: accuracy, distance moved, variety, overrating by the reward model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from erprm.metrics.estimate import Estimate
from erprm.raft.config import BestBy
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
        log_probs: ``log pi`` of each sampled solution.
        tokens: of each sampled solution, what ended it included.
        distinct_solutions: different texts among the sampled solutions.
        distinct_answers: different final answers among them; those without an answer count as one.
    """

    problem_id: str
    greedy_correct: bool
    correct: list[bool]
    scores: list[float] | None
    log_ratios: list[float] | None
    log_probs: list[float]
    tokens: list[int]
    distinct_solutions: int
    distinct_answers: int

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
        entropy: Monte-Carlo estimate of the entropy of a token, in nats: the mean of ``-log pi`` over all tokens of the
            sampled solutions; None, as the next two, in an evaluation of a version that had none.
        distinct_solutions: share of different texts among the sampled solutions of a problem, mean over problems; 1 if
            no two are equal.
        distinct_answers: the same for their final answers.
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
    entropy: float | None = None
    distinct_solutions: float | None = None
    distinct_answers: float | None = None

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
    samples = len(problems[0].correct)
    log_prob = math.fsum(value for each in problems for value in each.log_probs)
    return Evaluation(
        round=number,
        problems=len(problems),
        samples=samples,
        greedy=Estimate.of([float(each.greedy_correct) for each in problems]),
        pass_at_1=Estimate.of(pass_P),
        kl=kl,
        kl_standard_error=kl_standard_error,
        score=Estimate.of(scores_P) if scores_P else None,
        gap=Estimate.of([s - p for s, p in zip(scores_P, pass_P, strict=True)]) if scores_P else None,
        cut_off=cut_off,
        entropy=-log_prob / sum(sum(each.tokens) for each in problems),
        distinct_solutions=statistics.fmean(each.distinct_solutions / samples for each in problems),
        distinct_answers=statistics.fmean(each.distinct_answers / samples for each in problems),
    )


def best_round(evaluations: Sequence[Evaluation], by: BestBy) -> int:
    """The place of the evaluation with the highest accuracy; of equal ones the first."""
    return max(range(len(evaluations)), key=lambda place: getattr(evaluations[place], by).mean)


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


def variety_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each round: how much the sampled solutions of a problem differ."""
    header = ["round", "entropy, nats per token", "distinct solutions, %", "distinct answers, %", "cut off, %"]
    rows = [
        [
            str(each.round) if each.round else "0 (initial policy)",
            *(
                "-" if value is None else f"{factor * value:.{digits}f}"
                for value, factor, digits in (
                    (each.entropy, 1, 3),
                    (each.distinct_solutions, 100, 1),
                    (each.distinct_answers, 100, 1),
                    (each.cut_off, 100, 1),
                )
            ),
        ]
        for each in evaluations
    ]
    return Table("How much the sampled solutions of a held-out problem differ", header, rows)
