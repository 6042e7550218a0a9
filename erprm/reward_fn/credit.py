"""Rewards and returns of single steps from the scores of a solution's steps, for trainers with process-level credit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal, get_args

CreditForm = Literal["sum", "min", "difference"]


def check_credit_form(form: str) -> None:
    """Checks the name of a form.

    Raises:
        ValueError: if there is none with that name.
    """
    if form not in get_args(CreditForm):
        raise ValueError(f"form is {form!r}; it must be one of {', '.join(get_args(CreditForm))}")


def step_credit(step_scores: Sequence[float], form: CreditForm) -> list[float]:
    """The reward of each step; a trainer gives a token the sum of the rewards from there on (discount 1).

    Args:
        step_scores: scores of a solution's steps, in order.
        form: one of

            - ``sum``: each step's own score. The rewards add up to the sum of the scores, so that more steps are more
              reward, which invites padding.
            - ``min``: the lowest score, at the first step that has it, and 0 everywhere else. The rewards add up to the
              lowest score, whatever the number of steps. What comes after that step earns nothing. This is the min-form
              credit of PURE (arXiv 2504.15275) at temperature 0.
            - ``difference``: how much each step's score is above that of the step before; the first step's own score.
              The rewards add up to the last score: a step is rewarded for what it changes.

    Returns:
        One reward a step.

    Raises:
        ValueError: if there is no such form.

    >>> step_credit([0.75, 0.25, 0.5], "min")
    [0.0, 0.25, 0.0]
    >>> step_credit([0.75, 0.25, 0.5], "difference")
    [0.75, -0.5, 0.25]
    """
    check_credit_form(form)
    scores = list(step_scores)
    if form == "sum":
        return scores
    if form == "difference":
        return [*scores[:1], *(after - before for before, after in pairwise(scores))]
    lowest = scores.index(min(scores)) if scores else 0
    return [score if step == lowest else 0.0 for step, score in enumerate(scores)]


def step_returns(step_scores: Sequence[float], form: CreditForm) -> list[float]:
    """What is still to be earned from each step on, which a policy gradient multiplies the tokens of the step by.

    Args:
        step_scores: scores of a solution's steps, in order.
        form: one of

            - ``sum``: the sum of the scores from the step on;
            - ``min``: the lowest score from the step on, the return of PURE (arXiv 2504.15275, section 3);
            - ``difference``: the last score minus that of the step before, the sum of the differences from the step on.
              It is potential-based shaping (Ng et al. 1999) of the last score: the best policy stays the same.

    Returns:
        One return a step.

    Raises:
        ValueError: if there is no such form.

    >>> step_returns([0.75, 0.25, 0.5], "min")
    [0.25, 0.25, 0.5]
    >>> step_returns([0.75, 0.25, 0.5], "difference")
    [0.5, -0.25, 0.25]
    """
    check_credit_form(form)
    if form == "min":
        return list(accumulate(reversed(step_scores), min))[::-1]
    return list(accumulate(reversed(step_credit(step_scores, form))))[::-1]
