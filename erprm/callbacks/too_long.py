"""Solutions that are longer than a scorer reads: named before any is scored, and skipped or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn

from erprm.steps import Solution

TooLong = Literal["skip", "stop"]
_NAMED = 5


def find_too_long(
    module: L.LightningModule,
    solutions: Sequence[Solution],
    *,
    name: str,
    name_of: Callable[[int], str],
    which: TooLong,
    consequence: str,
) -> set[int]:
    """The places of solutions that are too long for the module; of one without ``too_long`` none.

    Args:
        module: a scorer; its ``too_long``, if it has any, says so (see :class:`erprm.models.StepScorer`).
        solutions: what is to be scored.
        name: of the evaluation, for messages.
        name_of: the name of a solution, by its place.
        which: ``skip`` warns, with their number and the names of the first; ``stop`` refuses them.
        consequence: what becomes of those that are skipped, for messages.

    Raises:
        ValueError: if there is one, and ``which`` is ``stop``.
    """
    ask = getattr(module, "too_long", None)
    lengths: dict[int, int] = dict(ask(solutions)) if callable(ask) else {}
    if lengths:
        named = ", ".join(f"{name_of(place)} ({lengths[place]} tokens)" for place in sorted(lengths)[:_NAMED])
        more = f" and {len(lengths) - _NAMED} more" if len(lengths) > _NAMED else ""
        found = f"{name}: {len(lengths)} of {len(solutions)} solutions are longer than the model reads: {named}{more}"
        if which == "stop":
            raise ValueError(f"{found}. too_long is stop; with skip {consequence}")
        rank_zero_warn(f"{found}; {consequence}")
    return set(lengths)
