"""Metrics of selecting among a problem's candidates, as torchmetrics.

Every update takes whole problems, each with its candidates; the states are the sum of the problems' values and their
number, so results over batches and ranks are exact means over problems. They are computed in float64 where the tensors
are, which needs a device that has it (CPU, CUDA).

Shape suffixes: P problems, N candidates a problem.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from erprm.metrics.functional.best_of_n import best_of_n_accuracy, pass_at_n
from erprm.metrics.functional.entropic_vote import entropic_vote_accuracy
from erprm.metrics.functional.majority_vote import majority_vote_accuracy
from erprm.metrics.functional.weighted_vote import weighted_vote_accuracy
from erprm.tensors import Numbers


class _MeanOverProblems(Metric):
    """Holds the sum over problems of an accuracy at one n, and the number of problems.

    Args:
        n: number of candidates drawn, at least 1.
        kwargs: options of ``torchmetrics.Metric``.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    problems: Tensor

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if n < 1:
            raise ValueError(f"n must be at least 1, found {n}")
        self.n = n
        self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("problems", default=torch.tensor(0), dist_reduce_fx="sum")

    def _add(self, mean: Tensor, n_problems: int) -> None:
        self.total += mean * n_problems
        self.problems += n_problems

    def compute(self) -> Tensor:
        """Mean over all problems since the last reset; NaN if there are none."""
        return self.total / self.problems


class BestOfNAccuracy(_MeanOverProblems):
    """Expected accuracy of the best-scored of n candidates; see :func:`erprm.metrics.best_of_n_accuracy`.

    Args:
        n: number of candidates drawn, at least 1.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = BestOfNAccuracy(n=2)
        >>> metric.update(torch.tensor([[0.9, 0.7, 0.2]]), torch.tensor([[False, True, False]]))
        >>> metric.update(torch.tensor([[0.5, 0.4]]), torch.tensor([[True, False]]))
        >>> metric.compute()
        tensor(0.6667, dtype=torch.float64)
    """

    def update(self, scores_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None) -> None:
        """Add problems; arguments and errors are those of :func:`erprm.metrics.best_of_n_accuracy`."""
        self._add(best_of_n_accuracy(scores_PN, correct_PN, self.n, valid_PN), len(correct_PN))


class PassAtN(_MeanOverProblems):
    """Unbiased pass@n; see :func:`erprm.metrics.pass_at_n`.

    Args:
        n: number of candidates drawn, at least 1.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = PassAtN(n=2)
        >>> metric.update(torch.tensor([[True, False, False, False]]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    def update(self, correct_PN: Numbers, valid_PN: Numbers | None = None) -> None:
        """Add problems; arguments and errors are those of :func:`erprm.metrics.pass_at_n`."""
        self._add(pass_at_n(correct_PN, self.n, valid_PN), len(correct_PN))


class MajorityVoteAccuracy(_MeanOverProblems):
    """Expected accuracy of the most frequent answer; see :func:`erprm.metrics.majority_vote_accuracy`.

    Args:
        n: number of candidates drawn, at least 1.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = MajorityVoteAccuracy(n=3)
        >>> metric.update(torch.tensor([[7, 7, 4]]), torch.tensor([[True, True, False]]))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    def update(self, answers_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None) -> None:
        """Add problems; arguments and errors are those of :func:`erprm.metrics.majority_vote_accuracy`."""
        self._add(majority_vote_accuracy(answers_PN, correct_PN, self.n, valid_PN), len(correct_PN))


class WeightedVoteAccuracy(_MeanOverProblems):
    """Expected accuracy of the answer with the largest sum of scores; see :func:`erprm.metrics.weighted_vote_accuracy`.

    Args:
        n: number of candidates drawn, at least 1.
        n_draws: number of random orders for each problem.
        seed: seed of the random orders, the same in every update.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = WeightedVoteAccuracy(n=3)
        >>> metric.update(
        ...     torch.tensor([[0.9, 0.3, 0.4]]), torch.tensor([[5, 3, 3]]), torch.tensor([[True, False, False]])
        ... )
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    def __init__(self, n: int, n_draws: int = 100, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(n, **kwargs)
        self.n_draws = n_draws
        self.seed = seed

    def update(
        self, scores_PN: Numbers, answers_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None
    ) -> None:
        """Add problems; arguments and errors are those of :func:`erprm.metrics.weighted_vote_accuracy`."""
        mean = weighted_vote_accuracy(scores_PN, answers_PN, correct_PN, self.n, valid_PN, self.n_draws, self.seed)
        self._add(mean, len(correct_PN))


class EntropicVoteAccuracy(_MeanOverProblems):
    """Expected accuracy of the optimal policy's favourite answer; see :func:`erprm.metrics.entropic_vote_accuracy`.

    Args:
        n: number of candidates drawn, at least 1.
        eta: inverse temperature of the weights, at least 0.
        n_draws: number of random orders for each problem.
        seed: seed of the random orders, the same in every update.
        kwargs: options of ``torchmetrics.Metric``.

    Example:
        >>> metric = EntropicVoteAccuracy(n=3, eta=2.0)
        >>> metric.update(
        ...     torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[5, 3, 3]]), torch.tensor([[True, False, False]])
        ... )
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    def __init__(self, n: int, eta: float, n_draws: int = 100, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(n, **kwargs)
        self.eta = eta
        self.n_draws = n_draws
        self.seed = seed

    def update(
        self, scores_PN: Numbers, answers_PN: Numbers, correct_PN: Numbers, valid_PN: Numbers | None = None
    ) -> None:
        """Add problems; arguments and errors are those of :func:`erprm.metrics.entropic_vote_accuracy`."""
        mean = entropic_vote_accuracy(
            scores_PN, answers_PN, correct_PN, self.n, self.eta, valid_PN, self.n_draws, self.seed
        )
        self._add(mean, len(correct_PN))
