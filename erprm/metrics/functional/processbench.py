"""ProcessBench: accuracy of finding the earliest wrong step (Zheng et al. 2024, arXiv 2412.06559, section 3.3).

A scorer names the first step whose score is below a threshold, or none. Over the solutions with a wrong step, and over
those without one, the share for which it names the right thing is an accuracy; F1 is the harmonic mean of the two.

A solution is judged rightly at the thresholds of one interval, ``low < threshold <= high``: the wrong step's score must
be below the threshold, and no earlier step's. So one pass over the scores gives F1 at every threshold.

Shape suffixes: S steps, M solutions, T thresholds.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from erprm.metrics.functional.aggregation import solution_of_steps
from erprm.metrics.functional.step_scores import check_no_nan
from erprm.tensors import Numbers, as_tensor


class ProcessBenchScore(NamedTuple):
    """Shares in [0, 1] at each threshold, float64, shape [T].

    Attributes:
        wrong: accuracy on the solutions with a wrong step; NaN if there are none.
        right: accuracy on the solutions without one; NaN if there are none.
        f1: their harmonic mean; 0 if both are 0.
    """

    wrong: Tensor
    right: Tensor
    f1: Tensor


class MatchIntervals(NamedTuple):
    """Thresholds at which each solution is judged rightly: ``low < threshold <= high``, none where low >= high."""

    low_M: Tensor
    high_M: Tensor

    def match(self, threshold: float) -> Tensor:
        """True for each solution that is judged correctly at a threshold; boolean, shape [M]."""
        return (self.low_M < threshold) & (threshold <= self.high_M)

    def share(self, part_M: Tensor, thresholds_T: Tensor) -> Tensor:
        """Share of some of the solutions that is judged rightly at each threshold, float64, shape [T]."""
        low_M, high_M = (ends_M[part_M & (self.low_M < self.high_M)].sort().values for ends_M in self)
        entered_T, left_T = torch.searchsorted(low_M, thresholds_T), torch.searchsorted(high_M, thresholds_T)
        return (entered_T - left_T).double() / part_M.sum()


def match_intervals(scores_S: Numbers, lengths_M: Numbers, first_errors_M: Numbers) -> MatchIntervals:
    """The thresholds at which the first step with a score below them is the first wrong step.

    Args:
        scores_S: step scores, solution after solution, shape [S].
        lengths_M: number of steps of each solution, integers of sum S, each at least 1. Shape [M].
        first_errors_M: first wrong step of each solution, counted from 0; -1 if none is wrong. Shape [M].

    Returns:
        Both ends, float64, each of shape [M].

    Raises:
        ValueError: for a wrong shape, a NaN, a solution without steps, lengths that do not add up to S, or a first
            wrong step that the solution does not have.

    Example:
        Right is to call the second step wrong and the first one right.

        >>> match_intervals(torch.tensor([0.75, 0.25, 0.5]), torch.tensor([3]), torch.tensor([1]))
        MatchIntervals(low_M=tensor([0.2500], dtype=torch.float64), high_M=tensor([0.7500], dtype=torch.float64))
    """
    scores_S = as_tensor(scores_S, "scores_S")
    lengths_M = as_tensor(lengths_M, "lengths_M")
    first_errors_M = as_tensor(first_errors_M, "first_errors_M")
    solution_S = solution_of_steps(scores_S, lengths_M)
    check_no_nan("scores_S", scores_S)
    if first_errors_M.shape != lengths_M.shape:
        raise ValueError(f"first_errors_M must have shape {list(lengths_M.shape)}, found {list(first_errors_M.shape)}")
    outside = ((first_errors_M < -1) | (first_errors_M >= lengths_M)).nonzero()
    if len(outside):
        solution = int(outside[0])
        raise ValueError(
            f"first_errors_M[{solution}] is {int(first_errors_M[solution])}: expected -1 or one of the "
            f"{int(lengths_M[solution])} steps, from 0"
        )
    scores_S = scores_S.double()
    starts_M = lengths_M.cumsum(dim=0) - lengths_M
    step_S = torch.arange(len(scores_S), device=scores_S.device) - starts_M[solution_S]
    has_error_M = first_errors_M >= 0
    is_before_S = ~has_error_M[solution_S] | (step_S < first_errors_M[solution_S])
    infinite_M = torch.full(lengths_M.shape, torch.inf, dtype=torch.float64, device=scores_S.device)
    high_M = infinite_M.scatter_reduce(0, solution_S, scores_S.masked_fill(~is_before_S, torch.inf), reduce="amin")
    low_M = scores_S[starts_M + first_errors_M.clamp(min=0)].masked_fill(~has_error_M, -torch.inf)
    return MatchIntervals(low_M, high_M)


def processbench_score(intervals: MatchIntervals, first_errors_M: Numbers, thresholds_T: Numbers) -> ProcessBenchScore:
    """Accuracies and F1 at each threshold.

    Args:
        intervals: of :func:`match_intervals`.
        first_errors_M: first wrong step of each solution, -1 if none is wrong. Shape [M].
        thresholds_T: float64, shape [T].

    Example:
        The wrong step is found, but the solution without one is accused, unless the threshold is low enough.

        >>> first_errors = torch.tensor([0, -1])
        >>> intervals = match_intervals(torch.tensor([0.25, 0.5, 0.75]), torch.tensor([1, 2]), first_errors)
        >>> processbench_score(intervals, first_errors, torch.tensor([0.4, 0.6], dtype=torch.float64)).f1
        tensor([1., 0.], dtype=torch.float64)
    """
    first_errors_M = as_tensor(first_errors_M, "first_errors_M")
    thresholds_T = as_tensor(thresholds_T, "thresholds_T")
    has_error_M = first_errors_M >= 0
    wrong_T, right_T = (intervals.share(part_M, thresholds_T) for part_M in (has_error_M, ~has_error_M))
    return ProcessBenchScore(wrong_T, right_T, harmonic_mean(wrong_T, right_T))


def harmonic_mean(first: Tensor, second: Tensor) -> Tensor:
    """``2ab / (a + b)`` of two numbers of at least 0; 0 where both are 0."""
    total = first + second
    return torch.where(total == 0, 0.0, 2 * first * second / total)


def best_threshold(intervals: MatchIntervals, first_errors_M: Numbers) -> float:
    """The threshold of the largest F1.

    F1 changes only at the ends of the intervals. Of the stretch between two ends that is best (the lowest one, if
    several are), the middle is taken.

    Raises:
        ValueError: if there is no solution with a wrong step, or none without: F1 is then undefined.
    """
    first_errors_M = as_tensor(first_errors_M, "first_errors_M")
    n_wrong = int((first_errors_M >= 0).sum())
    if not 0 < n_wrong < len(first_errors_M):
        raise ValueError(
            f"{n_wrong} of {len(first_errors_M)} solutions have a wrong step; a threshold is chosen on solutions with "
            "and without one"
        )
    ends_T = torch.cat([intervals.low_M, intervals.high_M])
    ends_T = ends_T[ends_T.isfinite()].unique()
    thresholds_T = torch.cat([ends_T[:1], (ends_T[1:] + ends_T[:-1]) / 2])
    return float(thresholds_T[processbench_score(intervals, first_errors_M, thresholds_T).f1.argmax()])
