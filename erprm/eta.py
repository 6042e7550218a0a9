"""Etas as users write them: numbers, ``inf`` with or without YAML's dot, and the names of two common labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TypeAlias

Eta: TypeAlias = float | str
"""A number, or what :func:`read_eta` reads as one: ``inf``, ``-inf``, ``soft`` or ``hard``."""

_IN_WORDS = {"soft": 0.0, "hard": math.inf}
_ACCEPTED = "a number, inf, -inf, soft (0) or hard (inf)"


def read_eta(eta: object, name: str = "eta") -> float:
    """The number that an eta is: a number, or one as text, ``inf``, ``-inf``, ``soft`` (0) or ``hard`` (infinity).

    Args:
        eta: a number or a text; a dot before ``inf``, as YAML has it, is read, too.
        name: of the setting, for messages.

    Raises:
        TypeError: if it is neither a number nor a text.
        ValueError: if it is NaN, or a text that is none of these; names what was found and what is accepted.

    >>> [read_eta(eta) for eta in (2, "0.5", "-.inf", "soft", "hard")]
    [2.0, 0.5, -inf, 0.0, inf]
    """
    if isinstance(eta, str):
        word = eta.strip().lower()
        try:
            value = _IN_WORDS[word] if word in _IN_WORDS else float(word.replace(".inf", "inf"))
        except ValueError:
            value = math.nan
    elif isinstance(eta, bool) or not isinstance(eta, Real):
        raise TypeError(f"{name} is {eta!r}; it must be {_ACCEPTED}")
    else:
        value = float(eta)
    if math.isnan(value):
        raise ValueError(f"{name} is {eta!r}; it must be {_ACCEPTED}")
    return value


def read_etas(etas: str | Sequence[Eta]) -> list[float]:
    """Etas from a list, or from one text.

    Raises:
        TypeError: if one is neither a number nor a text.
        ValueError: if there is none, one is not an eta, or one appears twice.

    >>> read_etas("0,0.5,inf")
    [0.0, 0.5, inf]
    """
    found: list[float] = []
    for each in etas.strip("[] ").split(",") if isinstance(etas, str) else etas:
        if isinstance(each, str) and not each.strip():
            continue
        eta = read_eta(each, "etas: one of them")
        if eta in found:
            raise ValueError(f"etas: {eta:g} appears twice")
        found.append(eta)
    if not found:
        raise ValueError("etas: give at least one, as in 0,0.5,2,inf")
    return found
