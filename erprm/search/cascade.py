"""A cascade of scorers: a cheap one guides a search and filters what it has found, a dear one decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from erprm.scoring import StepScorer, scorer_or_name
from erprm.search.protocol import PartialSolution

# A share of 0.07 of 100 candidates is 7.000000000000001 of them.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Cascade:
    """A second, dearer scorer, which reads only the best candidates of a search and chooses among them.

    Attributes:
        scorer: what decides; named as the scorer that guides the search.
        keep: share of a problem's candidates that it reads, those with the best scores of the other; at least one.
        flops: the most floating-point operations of its forward passes for a problem, each candidate by itself; the
            best is read in any case. For a scorer whose weights are here. By default only ``keep`` limits them.
    """

    # As a dict a scorer of any annotations is made here; a parser would ask for those of the protocol.
    scorer: str | dict[str, Any] | StepScorer
    keep: float = 0.25
    flops: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scorer", scorer_or_name(self.scorer, "cascade.scorer"))
        if not 0.0 < self.keep <= 1.0:
            raise ValueError(f"cascade.keep is {self.keep}; it must be above 0 and at most 1")
        if self.flops is not None and not self.flops > 0.0:
            raise ValueError(f"cascade.flops is {self.flops}; it must be above 0")

    def kept(self, candidates: Sequence[PartialSolution]) -> list[tuple[str, ...]]:
        """The steps of the candidates that pass the first scorer, the best first; equal ones are one.

        One that was cut off comes after those that the policy has ended. One without a step cannot be scored.
        """
        ranked = sorted(candidates, key=lambda candidate: (candidate.end == "stop", candidate.score), reverse=True)
        distinct = list(dict.fromkeys(candidate.steps for candidate in ranked if candidate.steps))
        return distinct[: math.ceil(self.keep * len(distinct) - _ROUNDING)]

    def affordable(self, flops: Sequence[int]) -> int:
        """Number of the kept candidates that the second scorer may read.

        Args:
            flops: operations for each, the best first.
        """
        if self.flops is None:
            return len(flops)
        return max(1, sum(total <= self.flops for total in accumulate(flops)))
