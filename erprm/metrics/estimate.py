"""Means over problems with their intervals, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval.

    Attributes:
        mean: the mean.
        low: lower end of the interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.mean, self.low, self.high))

    @classmethod
    def of(cls, values_P: Tensor | Sequence[float]) -> Estimate:
        """The mean of one value a problem, shape [P], with its bootstrap interval over problems.

        Raises:
            ValueError: for no values or a NaN.
        """
        import torch

        from erprm.metrics.functional.resampling import bootstrap_interval

        values_P = torch.as_tensor(values_P, dtype=torch.float64)
        low, high = bootstrap_interval(values_P)
        return cls(values_P.mean().item(), low.item(), high.item())


@dataclass(frozen=True)
class Curve:
    """Estimates against n, such as accuracies of best-of-n.

    Attributes:
        n: numbers of candidates.
        mean: the mean at each n.
        low: lower end of its interval at each n.
        high: upper end.
    """

    n: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]

    def at(self, n: int) -> Estimate:
        """The estimate at one n."""
        place = self.n.index(n)
        return Estimate(self.mean[place], self.low[place], self.high[place])

    @property
    def estimates(self) -> list[Estimate]:
        """The estimate at each n."""
        return list(map(Estimate, self.mean, self.low, self.high))
