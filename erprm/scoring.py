"""The protocol of step scorers, and checks of what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from erprm.errors import InputError
from erprm.lookup import made
from erprm.steps import Solution

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ScorerError", "StepScorer", "checked_scores"]


@runtime_checkable
class StepScorer(Protocol):
    """Anything that scores the steps of solutions: a LightningModule, a served model, a rule.

    A LightningModule may have an attribute ``ranks_may_differ``. True says that processes over which weights are
    sharded may call ``score_steps`` with different solutions, if they call it at the same time: it makes the same
    number of forwards on all. Best-of-N then shares its pool out among them; without it each scores the whole pool.

    One that cannot score every solution may have ``too_long(solutions)``, which returns for each that is too long its
    number of tokens, by its place (see :mod:`erprm.callbacks.scoring`). One that scores in parts may call
    :func:`erprm.scoring.tell_scored` after each, for progress bars.
    """

    def score_steps(self, solutions: Sequence[Solution]) -> Sequence[Tensor]:
        """Scores every step of every solution.

        Args:
            solutions: questions with the steps of a solution, at least one step each.

        Returns:
            For each solution a tensor ``[steps]``; higher is better.
        """
        ...


class ScorerError(InputError):
    """A scorer that answers otherwise than it should; no fault of a solution."""


def scorer_or_name(setting: object, key: str) -> str | StepScorer:
    """A scorer, or the name of one, that a setting gives; made if it is ``class_path`` with ``init_args``.

    Raises:
        ValueError: if it cannot be made, or is neither.
    """
    if isinstance(setting, dict):
        setting = made(setting, key, "a folder, a hub id, a URL, or class_path with init_args")
    if not isinstance(setting, str | StepScorer):
        raise ValueError(f"{key} needs score_steps(solutions); {type(setting).__name__} has none")
    return setting


def checked_scores(scores: Sequence[Any], solutions: Sequence[Solution]) -> list[Tensor]:
    """Checks what a scorer returned: one score for each step, as float32 on the CPU.

    Args:
        scores: what ``score_steps`` returned.
        solutions: what it was given.

    Raises:
        ScorerError: if there are more or fewer scores than solutions, or than steps of one of them; names it.
    """
    import torch

    if len(scores) != len(solutions):
        missing = solutions[len(scores)].question[:60] if len(scores) < len(solutions) else None
        hint = f"; the first without is of {missing!r}" if missing is not None else ""
        raise ScorerError(f"score_steps returned scores for {len(scores)} of {len(solutions)} solutions{hint}")
    for solution, step_scores in zip(solutions, scores, strict=True):
        if len(step_scores) != len(solution.steps):
            raise ScorerError(
                f"score_steps returned {len(step_scores)} scores for the {len(solution.steps)} steps of a solution "
                f"of {solution.question[:60]!r}"
            )
    return [torch.as_tensor(step_scores).float().cpu() for step_scores in scores]


def refuse_nan(scores: Sequence[Tensor], solutions: Sequence[Solution]) -> None:
    """Refuses checked scores that nothing can be chosen by.

    Raises:
        ScorerError: if a step has the score NaN; names the solution.
    """
    for solution, step_scores in zip(solutions, scores, strict=True):
        if (is_nan := step_scores.isnan()).any():
            raise ScorerError(
                f"score_steps returned NaN for step {int(is_nan.nonzero()[0])} (from 0) of a solution of "
                f"{solution.question[:60]!r}; its steps begin {[step[:40] for step in solution.steps[:3]]}"
            )


Listener = Callable[[int], object]
_listener: ContextVar[Listener | None] = ContextVar("listener of scoring progress", default=None)


def tell_scored(solutions: int) -> None:
    """To be called in ``score_steps`` after each part of its solutions, in the thread that called it.

    A scorer that does not is shown as done when all its solutions are.

    Args:
        solutions: how many more are scored.
    """
    listener = _listener.get()
    if listener is not None:
        listener(solutions)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hands what scorers tell to the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
