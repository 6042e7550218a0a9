"""Consistency of step scores with each other: the entropic Bellman equation of the policy that wrote the solutions.

Of the exact reward of a prefix, ``exp(eta * R)`` is the mean of ``exp(eta * R)`` over its children, the prefixes that
the policy makes of it with one step more; the child of a solution's end is its graded outcome r (docs/method.md). Both
sides are given on the scale of a success rate, ``U = (exp(eta * R) - 1) / (exp(eta) - 1)``, which is linear in
``exp(eta * R)`` and in [0, 1]; at eta = 0 it is R.

Shape suffixes: S steps, M solutions, P problems, T positions, B bootstrap samples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from erprm.eta import Eta, read_eta
from erprm.metrics.functional.aggregation import solution_of_steps
from erprm.metrics.functional.resampling import percentile_interval, resampled_means
from erprm.metrics.functional.step_scores import check_not_empty, check_shares
from erprm.rewards.sampled import ETA_OF_THE_MEAN
from erprm.tensors import Numbers, as_tensor


class BellmanResidual(NamedTuple):
    """Residuals of the entropic Bellman equation, in units of a success rate.

    Attributes:
        mean_T: mean of ``U(prefix) - U(child)`` at each position of the prefix, from the first step on, shape [T];
            above 0 where the scores promise more than the next ones keep.
        low_T: lower end of its 95% interval over problems.
        high_T: upper end.
        solutions_T: number of solutions that have so many steps.
        squared: mean squared residual of prefixes with at least two children, without the part that is due to the
            choice of children; may be negative by chance, NaN if there is no such prefix.
        prefixes: number of those prefixes.
    """

    mean_T: Tensor
    low_T: Tensor
    high_T: Tensor
    solutions_T: Tensor
    squared: Tensor
    prefixes: int


def entropic_bellman_residual(
    scores_S: Numbers,
    lengths_M: Numbers,
    outcomes_M: Numbers,
    problems_M: Numbers,
    eta: Eta,
    prefixes_S: Numbers | None = None,
) -> BellmanResidual:
    """Compares the score of each prefix with those of its sampled children.

    Each solution brings one child of each of its prefixes. The child is drawn at random, so the residual of a single
    one is not 0, but its mean is, for exact scores, whatever the policy: along a solution, U is a martingale. The
    solutions must be samples of one policy, not chosen by their outcome, and eta that of the scores.

    Args:
        scores_S: step scores in [0, 1], solution after solution, shape [S].
        lengths_M: number of steps of each solution, integers of sum S, each at least 1. Shape [M].
        outcomes_M: graded outcome in [0, 1] of each solution, shape [M].
        problems_M: integer id of each solution's problem, shape [M].
        eta: of the reward that the scores estimate; finite.
        prefixes_S: integer id of the text up to each step, equal where solutions of a problem share it, shape [S];
            without it no prefix has two children.

    Raises:
        ValueError: for mismatched shapes, no steps, lengths that do not add up to S, a score or outcome outside [0, 1],
            or an infinite eta.

    Example:
        After the first step half of the solutions succeed. The second score knows the outcome, the first is too high.

        >>> found = entropic_bellman_residual([0.75, 1.0, 0.75, 0.0], [2, 2], [1.0, 0.0], [0, 1], eta=0.0)
        >>> found.mean_T
        tensor([0.2500, 0.0000], dtype=torch.float64)
    """
    eta = read_eta(eta)
    if math.isinf(eta):
        raise ValueError(f"eta is {eta}; the equation is defined for a finite one")
    scores_S, outcomes_M = as_tensor(scores_S, "scores_S").double(), as_tensor(outcomes_M, "outcomes_M").double()
    lengths_M, problems_M = as_tensor(lengths_M, "lengths_M"), as_tensor(problems_M, "problems_M")
    check_not_empty(scores_S)
    check_shares("scores_S", scores_S)
    solution_S, lengths_M = solution_of_steps(scores_S, lengths_M), lengths_M.long()
    for name, given in (("outcomes_M", outcomes_M), ("problems_M", problems_M)):
        if given.shape != lengths_M.shape:
            raise ValueError(f"{name} must have shape {list(lengths_M.shape)}, found {list(given.shape)}")
    check_shares("outcomes_M", outcomes_M)
    own_S = _success_scale(scores_S, eta)
    child_S = own_S.roll(-1)
    ends_M = lengths_M.cumsum(0) - 1
    child_S[ends_M] = _success_scale(outcomes_M, eta)
    position_S = torch.arange(len(scores_S), device=scores_S.device) - (ends_M + 1 - lengths_M)[solution_S]

    problem_S = problems_M.unique(return_inverse=True)[1][solution_S]
    longest = int(lengths_M.max())
    sums_P2T = torch.zeros(int(problem_S.max()) + 1, 2, longest, dtype=torch.float64, device=scores_S.device)
    sums_P2T.index_put_((problem_S, torch.zeros_like(problem_S), position_S), own_S - child_S, accumulate=True)
    sums_P2T.index_put_((problem_S, torch.ones_like(problem_S), position_S), torch.ones_like(own_S), accumulate=True)
    sums_B2T = resampled_means(sums_P2T.flatten(1)).unflatten(1, (2, longest))
    low_T, high_T = percentile_interval(sums_B2T[:, 0] / sums_B2T[:, 1])
    total_T, solutions_T = sums_P2T.sum(0)

    squared, prefixes = torch.tensor(math.nan, dtype=torch.float64), 0
    if prefixes_S is not None:
        squares = _squares(own_S, child_S, as_tensor(prefixes_S, "prefixes_S"))
        squared, prefixes = squares.mean(), len(squares)
    return BellmanResidual(total_T / solutions_T, low_T, high_T, solutions_T.long(), squared, prefixes)


def _success_scale(rewards: Tensor, eta: float) -> Tensor:
    """``(exp(eta * R) - 1) / (exp(eta) - 1)``, without overflow; R at eta = 0."""
    if abs(eta) < ETA_OF_THE_MEAN:
        return rewards.clone()
    if eta > 0.0:
        scaled: Tensor = (eta * (rewards - 1)).exp() * (-eta * rewards).expm1() / math.expm1(-eta)
    else:
        scaled = (eta * rewards).expm1() / math.expm1(eta)
    return scaled


def _squares(own_S: Tensor, child_S: Tensor, prefixes_S: Tensor) -> Tensor:
    """Unbiased squared residual of every prefix with at least two children."""
    if prefixes_S.shape != own_S.shape:
        raise ValueError(f"prefixes_S must have shape {list(own_S.shape)}, found {list(prefixes_S.shape)}")
    prefix_S = prefixes_S.unique(return_inverse=True)[1]
    children = prefix_S.bincount()

    def sum_of(values_S: Tensor) -> Tensor:
        return torch.zeros(len(children), dtype=torch.float64, device=own_S.device).index_add_(0, prefix_S, values_S)

    mean_child = sum_of(child_S) / children
    variance = sum_of((child_S - mean_child[prefix_S]).square()) / (children - 1)
    squares: Tensor = (sum_of(own_S) / children - mean_child).square() - variance / children
    return squares[children > 1]
