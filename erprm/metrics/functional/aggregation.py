"""The score of a solution from the scores of its steps.

Shape suffixes: S steps, M solutions; of a pool: P problems, N candidates a problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["min", "prod", "mean", "last", "sum_logits"]

# Half the distance from 1 to the float32 below it: a score that was rounded to 1 has a finite logit, of 16.6.
_LOGIT_EPSILON = 2.0**-24


def aggregate_steps(step_scores_S: Tensor, method: Aggregation) -> Tensor:
    """Score of one solution.

    Args:
        step_scores_S: scores of the solution's steps in order, shape [S].
        method: ``min`` (what the ER-PRM paper uses), ``prod``, ``mean``, ``last`` or ``sum_logits``.

    Returns:
        A float64 scalar.

    Raises:
        ValueError: as :func:`aggregate_solutions`.

    Example:
        >>> import torch
        >>> aggregate_steps(torch.tensor([0.9, 0.5, 0.8]), "min")
        tensor(0.5000, dtype=torch.float64)
    """
    import torch

    lengths_M = torch.tensor([step_scores_S.numel()], device=step_scores_S.device)
    return aggregate_solutions(step_scores_S, lengths_M, method)[0]


def aggregate_solutions(step_scores_S: Tensor, lengths_M: Tensor, method: Aggregation) -> Tensor:
    """Scores of many solutions of different lengths at once.

    Everything is computed in float64, in which the product of 100 step scores of 0.001 is still a normal number
    (float32 leaves its normal range after 12).

    Args:
        step_scores_S: scores of all steps, solution after solution, shape [S].
        lengths_M: number of steps of each solution, integers of sum S, each at least 1. Shape [M].
        method: ``min``, ``prod``, ``mean``, ``last``, or ``sum_logits``: the sum of ``ln(s / (1 - s))``, for scores in
            [0, 1]; those within 2^-24 of 0 or 1 count as that far away.

    Returns:
        Float64 scores, shape [M].

    Raises:
        ValueError: for an unknown method, a wrong shape, a solution without steps, lengths that do not add up to the
            number of steps, a NaN score, or with ``sum_logits`` a score outside [0, 1].

    Example:
        >>> import torch
        >>> aggregate_solutions(torch.tensor([0.9, 0.5, 0.8, 0.7]), torch.tensor([3, 1]), "last")
        tensor([0.8000, 0.7000], dtype=torch.float64)
    """
    if method not in get_args(Aggregation):
        raise ValueError(f"method must be one of {', '.join(get_args(Aggregation))}, found {method!r}")
    solution_S = solution_of_steps(step_scores_S, lengths_M)
    missing = step_scores_S.isnan().nonzero()
    if len(missing):
        step = int(missing[0])
        raise ValueError(f"step_scores_S[{step}] (solution {int(solution_S[step])}) is NaN")

    scores_S = step_scores_S.double()
    if method == "last":
        return scores_S[lengths_M.cumsum(dim=0) - 1]
    if method == "sum_logits":
        outside = ((scores_S < 0) | (scores_S > 1)).nonzero()
        if len(outside):
            step = int(outside[0])
            raise ValueError(f"step_scores_S[{step}] is {scores_S[step].item()}: sum_logits takes scores in [0, 1]")
        scores_S = scores_S.logit(eps=_LOGIT_EPSILON)
    reduce = {"min": "amin", "prod": "prod", "mean": "mean", "sum_logits": "sum"}[method]
    import torch

    scores_M = torch.zeros(len(lengths_M), dtype=torch.float64, device=scores_S.device)
    return scores_M.scatter_reduce(0, solution_S, scores_S, reduce=reduce, include_self=False)


def aggregate_pool(step_scores: Sequence[Tensor], valid_PN: Tensor, method: Aggregation) -> Tensor:
    """Scores of all candidates of a pool.

    Args:
        step_scores: for each valid candidate, problem after problem, the scores of its steps ``[steps]``; empty for a
            candidate without a step.
        valid_PN: boolean mask of the real candidates, shape [P, N].
        method: as in :func:`aggregate_solutions`.

    Returns:
        Float64, shape [P, N]; ``-inf`` for a candidate without a step, and in padding.

    Raises:
        ValueError: as :func:`aggregate_solutions`.
    """
    import torch

    lengths_M = torch.tensor([len(scores) for scores in step_scores])
    scores_M = torch.full(lengths_M.shape, -torch.inf, dtype=torch.float64)
    if (lengths_M > 0).any():
        scores_M[lengths_M > 0] = aggregate_solutions(torch.cat([*step_scores]), lengths_M[lengths_M > 0], method)
    scores_PN = torch.full(valid_PN.shape, -torch.inf, dtype=torch.float64)
    scores_PN[valid_PN] = scores_M
    return scores_PN


def solution_of_steps(steps_S: Tensor, lengths_M: Tensor) -> Tensor:
    """Index of the solution that each step belongs to.

    Args:
        steps_S: any value for each step, solution after solution, shape [S].
        lengths_M: number of steps of each solution, integers, shape [M].

    Returns:
        Integers from 0 to M - 1, shape [S].

    Raises:
        ValueError: for a wrong shape, a solution without steps, or lengths that do not add up to the number of steps.
    """
    if steps_S.ndim != 1:
        raise ValueError(f"step values must have shape [steps], found {list(steps_S.shape)}")
    if lengths_M.ndim != 1 or lengths_M.is_floating_point():
        raise ValueError(
            f"lengths_M must hold integers in shape [solutions], found {lengths_M.dtype} in {list(lengths_M.shape)}"
        )
    empty = (lengths_M < 1).nonzero()
    if len(empty):
        solution = int(empty[0])
        raise ValueError(f"lengths_M[{solution}] is {int(lengths_M[solution])}: a solution has at least one step")
    if int(lengths_M.sum()) != len(steps_S):
        raise ValueError(f"lengths_M adds up to {int(lengths_M.sum())}, but there are {len(steps_S)} steps")
    import torch

    return torch.arange(len(lengths_M), device=lengths_M.device).repeat_interleave(lengths_M)
