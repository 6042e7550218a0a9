"""Selection of the solutions of a problem to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence


def keep_best(
    scores: Sequence[float],
    texts: Sequence[str],
    finished: Sequence[bool],
    *,
    top_k: int = 1,
    threshold: float | None = None,
    deduplicate: bool = True,
) -> list[int]:
    """The places of the best solutions of a problem, the best first; of equally good ones the one sampled first.

    Args:
        scores: of each solution; one of ``-inf`` is not kept.
        texts: of each solution.
        finished: whether it ended; one that was cut off is not kept, since a policy would learn to break off.
        top_k: so many at most.
        threshold: keep only those that score at least this.
        deduplicate: keep equal texts once.

    Example:
        >>> keep_best([0.2, 0.9, 0.9, 0.8], ["a", "b", "b", "c"], [True] * 4, top_k=2)
        [1, 3]
    """
    kept: list[int] = []
    seen: set[str] = set()
    least = -math.inf if threshold is None else threshold
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        usable = finished[place] and texts[place].strip() and scores[place] > -math.inf and scores[place] >= least
        if usable and not (deduplicate and texts[place] in seen):
            kept.append(place)
            seen.add(texts[place])
    return kept[:top_k]
