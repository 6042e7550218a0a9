"""The ways of making labels that an ablation compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erprm.data.labels import LabelMethod


@dataclass(frozen=True)
class Method:
    """Labels to train on.

    Attributes:
        eta: of the entropy-regularized labels; None for labels of outcomes only.
    """

    eta: float | None

    @property
    def labels(self) -> LabelMethod:
        """The label method of the data module."""
        return "outcome" if self.eta is None else "er"

    @property
    def name(self) -> str:
        """``eta 2`` or ``outcome``."""
        return "outcome" if self.eta is None else f"eta {self.eta:g}"
