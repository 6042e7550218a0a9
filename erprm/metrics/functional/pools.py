"""Candidate pools: P problems with up to N candidate solutions each, and their checks.

Every selection metric of this package takes tensors of shape [P, N]. Where problems have different numbers of
candidates, the rows are padded and a boolean mask ``valid_PN`` marks the real ones; the other places are never
read.

Shape suffixes: P problems, N candidates a problem, C groups of a problem (as many columns as candidates, unused ones
empty).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from erprm.eta import Eta, read_eta
from erprm.tensors import Numbers, as_tensor

LOG_FLOOR = -(2.0**29)
"""The lowest logarithm of a weight; see :func:`log_tilt`."""


class Groups(NamedTuple):
    """Groups of candidates.

    Attributes:
        index_PN: group of each candidate, 0 to C - 1; C for candidates that belong to none. Shape [P, N].
        sizes_PC: number of candidates in each group, shape [P, C].
        correct_PC: mean correctness of each group's candidates, float64, 0 for an empty group. Shape [P, C].
    """

    index_PN: Tensor
    sizes_PC: Tensor
    correct_PC: Tensor


def group_candidates(ids_PN: Tensor, correct_PN: Tensor, counted_PN: Tensor) -> Groups:
    """Group each problem's candidates by an equal id: the same final answer, or the same text.

    Args:
        ids_PN: any integers; equal ones within a problem form a group, shape [P, N].
        correct_PN: correctness of each candidate, shape [P, N].
        counted_PN: boolean mask of the candidates that belong to a group, shape [P, N].

    Returns:
        The groups, with C = N.
    """
    no_group = ids_PN.shape[1]
    # Candidates that are not counted sort last, so that the others' groups are numbered from 0 without gaps.
    ids_PN = ids_PN.long().masked_fill(~counted_PN, torch.iinfo(torch.int64).max)
    sorted_ids_PN, order_PN = ids_PN.sort(dim=1)
    starts_PN = torch.zeros_like(ids_PN)
    starts_PN[:, 1:] = sorted_ids_PN[:, 1:] != sorted_ids_PN[:, :-1]
    index_PN = torch.zeros_like(ids_PN).scatter(1, order_PN, starts_PN.cumsum(dim=1))
    index_PN = index_PN.masked_fill(~counted_PN, no_group)

    # One column more than groups collects the candidates without a group, and is dropped.
    empty = torch.zeros(ids_PN.shape[0], no_group + 1, dtype=torch.float64, device=ids_PN.device)
    sizes_PC = empty.scatter_add(1, index_PN, torch.ones_like(index_PN, dtype=torch.float64))[:, :no_group]
    sums_PC = empty.scatter_add(1, index_PN, correct_PN.double())[:, :no_group]
    return Groups(index_PN, sizes_PC.long(), sums_PC / sizes_PC.clamp(min=1))


def check_pool(correct_PN: Numbers, valid_PN: Numbers | None) -> tuple[Tensor, Tensor]:
    """Check the correctness and the mask of a pool.

    Args:
        correct_PN: correctness of each candidate, bool or a number in [0, 1], shape [P, N].
        valid_PN: boolean mask of the real candidates, shape [P, N]; None when all are.

    Returns:
        Both as tensors of shape [P, N], the mask boolean.

    Raises:
        ValueError: for a wrong shape or mask type, an empty pool, or correctness outside [0, 1].
    """
    correct_PN, valid_PN = as_tensor(correct_PN, "correct_PN"), as_tensor(valid_PN, "valid_PN")
    if correct_PN.ndim != 2:
        raise ValueError(f"correct_PN must have shape [problems, candidates], found {list(correct_PN.shape)}")
    if correct_PN.numel() == 0:
        raise ValueError(f"correct_PN is empty, found shape {list(correct_PN.shape)}")
    if valid_PN is None:
        valid_PN = torch.ones_like(correct_PN, dtype=torch.bool)
    check_same_shape("valid_PN", valid_PN, correct_PN)
    if valid_PN.dtype != torch.bool:
        raise ValueError(f"valid_PN must be boolean, found {valid_PN.dtype}")

    in_range_PN = (correct_PN >= 0) & (correct_PN <= 1)
    raise_at_first("correct_PN", correct_PN, valid_PN & ~in_range_PN, "it must lie in [0, 1]")
    without_candidates = (~valid_PN.any(dim=1)).nonzero()
    if len(without_candidates):
        raise ValueError(f"valid_PN leaves problem {int(without_candidates[0])} without a candidate")
    return correct_PN, valid_PN


def check_scores(scores_PN: Numbers, valid_PN: Tensor) -> Tensor:
    """Scores as a tensor; a ValueError unless they have the mask's shape and no valid candidate's score is NaN."""
    scores_PN = as_tensor(scores_PN, "scores_PN")
    check_same_shape("scores_PN", scores_PN, valid_PN)
    raise_at_first("scores_PN", scores_PN, valid_PN & scores_PN.isnan(), "every candidate needs a number")
    return scores_PN


def check_ids(name: str, ids_PN: Numbers, valid_PN: Tensor, lowest: int) -> Tensor:
    """Ids as a tensor; a ValueError unless they have the mask's shape, are integers, and none is below ``lowest``."""
    ids_PN = as_tensor(ids_PN, name)
    check_same_shape(name, ids_PN, valid_PN)
    if ids_PN.is_floating_point() or ids_PN.is_complex() or ids_PN.dtype == torch.bool:
        raise ValueError(f"{name} must hold integers, found {ids_PN.dtype}")
    raise_at_first(name, ids_PN, valid_PN & (ids_PN < lowest), f"ids start at {lowest}")
    return ids_PN


def check_same_shape(name: str, tensor: Tensor, reference: Tensor) -> None:
    """Raise a ValueError unless both tensors have the same shape."""
    if tensor.shape != reference.shape:
        raise ValueError(f"{name} must have shape {list(reference.shape)}, found {list(tensor.shape)}")


def raise_at_first(name: str, values_PN: Tensor, wrong_PN: Tensor, rule: str) -> None:
    """Raise a ValueError that names the first problem and candidate for which ``wrong_PN`` is true, if any is."""
    wrong = wrong_PN.nonzero()
    if len(wrong):
        problem, candidate = wrong[0].tolist()
        value = values_PN[problem, candidate].item()
        raise ValueError(f"{name} of problem {problem}, candidate {candidate} is {value}: {rule}")


def mean_at_n(curves_PN: Tensor, n: int) -> Tensor:
    """Mean over problems of per-problem curves at one n.

    Args:
        curves_PN: value of each problem for n = 1..N, NaN where its pool is smaller than n, shape [P, N].
        n: number of candidates drawn.

    Returns:
        A scalar.

    Raises:
        ValueError: if n < 1, or n is larger than some problem's pool.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, found {n}")
    sizes_P = (~curves_PN.isnan()).sum(dim=1)
    too_small = (sizes_P < n).nonzero()
    if len(too_small):
        problem = int(too_small[0])
        raise ValueError(
            f"n is {n}, but problem {problem} has only {int(sizes_P[problem])} candidates "
            f"({len(too_small)} of {len(sizes_P)} problems have fewer than {n})"
        )
    return curves_PN[:, n - 1].mean()


def read_tilt(eta: Eta, scores_PN: Numbers, valid_PN: Tensor) -> tuple[float, Tensor]:
    """Eta and the scores of weights ``exp(eta * score)``.

    Returns:
        Eta, and the scores in float64, shape [P, N].

    Raises:
        ValueError: for an eta that is negative or NaN, and for scores of another shape, or that are NaN or infinity.
    """
    eta = read_eta(eta)
    if not eta >= 0.0:
        raise ValueError(f"eta is {eta}; a weight exp(eta * score) needs one of at least 0, and inf is best-of-n")
    scores_PN = check_scores(scores_PN, valid_PN)
    raise_at_first("scores_PN", scores_PN, valid_PN & scores_PN.isposinf(), "a weight is finite")
    return eta, scores_PN.double()


def log_tilt(eta: float, scores_PN: Tensor, counted_PN: Tensor) -> Tensor:
    """Logarithms of the weights ``exp(eta * score)``, relative to the largest of their problem.

    Args:
        eta: above 0, and finite.
        scores_PN: score of each candidate, shape [P, N]; minus infinity is a weight of 0.
        counted_PN: boolean mask of the candidates that have a weight, shape [P, N].

    Returns:
        Float64, shape [P, N], from -2^29 to 0: below that nothing is told apart, and sums keep seven digits. 0 for what
        is not counted.
    """
    largest_P1 = scores_PN.masked_fill(~counted_PN, -torch.inf).max(dim=1, keepdim=True).values
    log_weights_PN = eta * (scores_PN - largest_P1.nan_to_num(neginf=0.0))
    return log_weights_PN.masked_fill(~counted_PN, 0.0).clamp(min=LOG_FLOOR)


def mean_over_orders(
    curves_of_order: Callable[[Tensor], Tensor], value_of_one_P: Tensor, valid_PN: Tensor, n_draws: int, seed: int
) -> Tensor:
    """Monte Carlo estimate of curves: the first n candidates of a random order are a random subset of n.

    Args:
        curves_of_order: from an order of the candidates, padding last, the value of its first n, both [P, N].
        value_of_one_P: exact value of a single candidate, which need not be sampled; shape [P].
        valid_PN: boolean mask of the real candidates, shape [P, N].
        n_draws: number of random orders.
        seed: seed of the random orders.

    Returns:
        Float64, shape [P, N]; NaN where a problem has fewer than n candidates.

    Raises:
        ValueError: for n_draws < 1.
    """
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, found {n_draws}")
    generator = torch.Generator().manual_seed(seed)
    curves_PN = torch.zeros(valid_PN.shape, dtype=torch.float64, device=valid_PN.device)
    for _ in range(n_draws):
        key_PN = torch.rand(valid_PN.shape, generator=generator, dtype=torch.float64).to(valid_PN.device)
        curves_PN += curves_of_order(key_PN.masked_fill(~valid_PN, torch.inf).argsort(dim=1))
    curves_PN /= n_draws
    curves_PN[:, 0] = value_of_one_P
    beyond_pool_PN = torch.arange(1, valid_PN.shape[1] + 1, device=valid_PN.device) > valid_PN.sum(dim=1)[:, None]
    return curves_PN.masked_fill(beyond_pool_PN, torch.nan)


def log_choose(total: Tensor, chosen: Tensor) -> Tensor:
    """Natural logarithm of the binomial coefficient, broadcast; -inf where it is zero (``chosen`` > ``total``)."""
    total, chosen = total.double(), chosen.double()
    log_ways = torch.lgamma(total + 1) - torch.lgamma(chosen + 1) - torch.lgamma((total - chosen).clamp(min=0) + 1)
    return log_ways.masked_fill(chosen > total, -torch.inf)
