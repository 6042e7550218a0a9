"""The score of a solution from the scores of its steps.

A new aggregation is a function and a line of :data:`AGGREGATIONS`; one's own is named by its import path. torch is
imported only for computing, so that settings can list the names without it.

Shape suffixes: S steps, M solutions; of a pool: P problems, N candidates a problem.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from erprm.lookup import imported, setting_type

if TYPE_CHECKING:
    from torch import Tensor

    from erprm.tensors import Numbers

    Aggregator: TypeAlias = Callable[[Tensor, Tensor], Tensor]
    """Scores of solutions [M] from float64 scores of their steps, one solution after the other [S], and lengths [M]."""

# Half the distance from 1 to the float32 below it: a score that was rounded to 1 has a finite logit, of 16.6.
_LOGIT_EPSILON = 2.0**-24


def _last(scores_S: Tensor, lengths_M: Tensor) -> Tensor:
    return scores_S[lengths_M.cumsum(dim=0) - 1]


def _sum_logits(scores_S: Tensor, lengths_M: Tensor) -> Tensor:
    outside = ((scores_S < 0) | (scores_S > 1)).nonzero()
    if len(outside):
        step = int(outside[0])
        raise ValueError(f"step_scores_S[{step}] is {scores_S[step].item()}: sum_logits takes scores in [0, 1]")
    return _reduced(scores_S.logit(eps=_LOGIT_EPSILON), lengths_M, reduce="sum")


def _reduced(scores_S: Tensor, lengths_M: Tensor, *, reduce: str) -> Tensor:
    import torch

    scores_M = torch.zeros(len(lengths_M), dtype=torch.float64, device=scores_S.device)
    solution_S = solution_of_steps(scores_S, lengths_M)
    return scores_M.scatter_reduce(0, solution_S, scores_S, reduce=reduce, include_self=False)


AGGREGATIONS: dict[str, Aggregator] = {
    "min": functools.partial(_reduced, reduce="amin"),
    "prod": functools.partial(_reduced, reduce="prod"),
    "mean": functools.partial(_reduced, reduce="mean"),
    "last": _last,
    "sum_logits": _sum_logits,
}
OF_SHARES_ONLY = frozenset({"sum_logits"})
"""Aggregations that take scores in [0, 1] only."""

if TYPE_CHECKING:
    Aggregation: TypeAlias = str
else:
    Aggregation = setting_type(AGGREGATIONS)


def aggregator(name: Aggregation, key: str = "aggregation") -> Aggregator:
    """The aggregation of a name, or the function at an import path: of the scores of one solution ``[steps]``.

    Args:
        name: a key of :data:`AGGREGATIONS`, or an import path, such as ``my_scores.soft_minimum``.
        key: the configuration key, for messages.

    Raises:
        ValueError: if it names no function; says what would be accepted, and which name is close.
    """
    if name in AGGREGATIONS:
        return AGGREGATIONS[name]
    accepted = f"one of {', '.join(AGGREGATIONS)}, or the import path of a function of the scores of a solution's steps"
    function = imported(name, key, accepted, known=AGGREGATIONS)
    if not callable(function):
        raise ValueError(f"{key}: {name!r} is {function!r}; it must be {accepted}")
    return functools.partial(_one_by_one, name=name, function=function)


def _one_by_one(scores_S: Tensor, lengths_M: Tensor, *, name: str, function: Callable[[Tensor], float]) -> Tensor:
    import torch

    values = [float(function(scores)) for scores in scores_S.split(lengths_M.tolist())]
    scores_M = torch.tensor(values, dtype=torch.float64, device=scores_S.device)
    missing = scores_M.isnan().nonzero()
    if len(missing):
        raise ValueError(f"aggregation {name!r} gives NaN for solution {int(missing[0])}")
    return scores_M


def aggregate_steps(step_scores_S: Numbers, method: Aggregation) -> Tensor:
    """Score of one solution.

    Args:
        step_scores_S: scores of the solution's steps in order, shape [S].
        method: ``min`` (what the ER-PRM paper uses), or another one; see :func:`aggregate_solutions`.

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

    from erprm.tensors import as_tensor

    step_scores_S = as_tensor(step_scores_S, "step_scores_S")
    lengths_M = torch.tensor([step_scores_S.numel()], device=step_scores_S.device)
    return aggregate_solutions(step_scores_S, lengths_M, method)[0]


def aggregate_solutions(step_scores_S: Numbers, lengths_M: Numbers, method: Aggregation) -> Tensor:
    """Scores of many solutions of different lengths at once.

    Everything is computed in float64, in which the product of 100 step scores of 0.001 is still a normal number
    (float32 leaves its normal range after 12).

    Args:
        step_scores_S: scores of all steps, solution after solution, shape [S].
        lengths_M: number of steps of each solution, integers of sum S, each at least 1. Shape [M].
        method: ``min``, ``prod``, ``mean``, ``last``, or ``sum_logits``: the sum of ``ln(s / (1 - s))``, for scores in
            [0, 1]; those within 2^-24 of 0 or 1 count as that far away. Or the import path of a function that maps the
            float64 scores of one solution's steps ``[steps]`` to a number.

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
    from erprm.tensors import as_tensor

    step_scores_S, lengths_M = as_tensor(step_scores_S, "step_scores_S"), as_tensor(lengths_M, "lengths_M")
    aggregate = aggregator(method, "method")
    solution_S = solution_of_steps(step_scores_S, lengths_M)
    missing = step_scores_S.isnan().nonzero()
    if len(missing):
        step = int(missing[0])
        raise ValueError(f"step_scores_S[{step}] (solution {int(solution_S[step])}) is NaN")

    return aggregate(step_scores_S.double(), lengths_M)


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
    import torch

    if steps_S.ndim != 1:
        raise ValueError(f"step values must have shape [steps], found {list(steps_S.shape)}")
    if lengths_M.ndim != 1 or (lengths_M.is_floating_point() and len(lengths_M)):  # an empty list has no type
        raise ValueError(
            f"lengths_M must hold integers in shape [solutions], found {lengths_M.dtype} in {list(lengths_M.shape)}"
        )
    empty = (lengths_M < 1).nonzero()
    if len(empty):
        solution = int(empty[0])
        raise ValueError(f"lengths_M[{solution}] is {int(lengths_M[solution])}: a solution has at least one step")
    if int(lengths_M.sum()) != len(steps_S):
        raise ValueError(f"lengths_M adds up to {int(lengths_M.sum())}, but there are {len(steps_S)} steps")

    return torch.arange(len(lengths_M), device=lengths_M.device).repeat_interleave(lengths_M.long())
