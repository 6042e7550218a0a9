"""Outcome rewards for any task: what a grader must be, and how a batch of its rewards is obtained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from erprm.grading.grader import Grader


class OutcomeGrader(Protocol):
    """Anything that maps a prediction and a gold to an outcome reward in [0, 1].

    A function will do. `Grader` is one for mathematics; unit tests that a program passes, or a judge model, are
    others. `gold` is whatever the problem source stores as its answer: a reference text, test cases as JSON, a
    rubric.
    """

    def __call__(self, prediction: str, gold: str) -> float:
        """Returns the reward of `prediction`, in [0, 1]."""


def outcome_rewards(grader: OutcomeGrader, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Rewards of (prediction, gold) pairs, in order; a `Grader` is asked for the whole batch at once.

    Raises:
        ValueError: the grader returned something outside [0, 1].
    """
    if isinstance(grader, Grader):
        return [float(equal) for equal in grader.grade_batch(pairs)]
    rewards = [float(grader(prediction, gold)) for prediction, gold in pairs]
    for index, reward in enumerate(rewards):
        if not 0.0 <= reward <= 1.0:  # also catches NaN
            raise ValueError(f"grader {grader!r}: reward {reward} for pairs[{index}], expected a number in [0, 1]")
    return rewards
