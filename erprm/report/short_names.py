"""Names for paths that stand beside each other."""

from __future__ import annotations

from collections.abc import Sequence


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of each path, or as many as tell them apart.

    >>> short_names(["runs/er/data", "runs/soft/data"])
    ['er/data', 'soft/data']
    """
    parts = [path.rstrip("/").split("/") for path in paths]
    for kept in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-kept:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
