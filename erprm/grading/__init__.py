"""Answer extraction and answer equivalence; `docs/grading.md` says what counts as equal.

Importing this package loads neither sympy nor torch.
"""

from erprm.grading.extract import Kind, extract_answer
from erprm.grading.grader import Grader, grade
from erprm.grading.outcome import OutcomeGrader, outcome_rewards
from erprm.grading.pool import KilledPair, WorkerStartError

__all__ = [
    "Grader",
    "KilledPair",
    "Kind",
    "OutcomeGrader",
    "WorkerStartError",
    "extract_answer",
    "grade",
    "outcome_rewards",
]
