"""Answer extraction and answer equivalence; `docs/grading.md` says what counts as equal.

Importing this package loads neither sympy nor torch.
"""

from erprm.grading.extract import KINDS, Kind, extract_answer
from erprm.grading.grader import Grader, grade
from erprm.grading.outcome import (
    BatchGrader,
    GradingError,
    GradingSetting,
    OutcomeGrader,
    check_grading,
    open_grader,
    outcome_rewards,
)
from erprm.grading.pool import KilledPair, WorkerStartError

__all__ = [
    "KINDS",
    "BatchGrader",
    "Grader",
    "GradingError",
    "GradingSetting",
    "KilledPair",
    "Kind",
    "OutcomeGrader",
    "WorkerStartError",
    "check_grading",
    "extract_answer",
    "grade",
    "open_grader",
    "outcome_rewards",
]
