"""Answer extraction and answer equivalence; `docs/grading.md` says what counts as equal.

Names load when they are first used: importing this package loads neither sympy nor torch.
"""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.grading.extract import KINDS as KINDS
    from erprm.grading.extract import Kind as Kind
    from erprm.grading.extract import extract_answer as extract_answer
    from erprm.grading.form import FormGrader as FormGrader
    from erprm.grading.grader import Grader as Grader
    from erprm.grading.grader import grade as grade
    from erprm.grading.outcome import BatchGrader as BatchGrader
    from erprm.grading.outcome import GradingError as GradingError
    from erprm.grading.outcome import GradingSetting as GradingSetting
    from erprm.grading.outcome import OutcomeGrader as OutcomeGrader
    from erprm.grading.outcome import check_grading as check_grading
    from erprm.grading.outcome import open_grader as open_grader
    from erprm.grading.outcome import outcome_rewards as outcome_rewards
    from erprm.grading.workers.pool import KilledPair as KilledPair
    from erprm.grading.workers.pool import WorkerStartError as WorkerStartError

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
