"""Answer extraction and answer equivalence; `docs/grading.md` says what counts as equal.

Names load when they are first used: importing this package loads neither sympy nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from erprm.grading.extract import KINDS, Kind, extract_answer
    from erprm.grading.form import FormGrader
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
    from erprm.grading.workers.pool import KilledPair, WorkerStartError

__all__ = [
    "KINDS",
    "BatchGrader",
    "FormGrader",
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

_MODULE_OF = {
    **dict.fromkeys(("KINDS", "Kind", "extract_answer"), "extract"),
    "FormGrader": "form",
    **dict.fromkeys(("Grader", "grade"), "grader"),
    **dict.fromkeys(("KilledPair", "WorkerStartError"), "workers.pool"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF.get(name, 'outcome')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
