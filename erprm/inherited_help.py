"""Inherited help texts: a dataclass describes its own keys, and takes the descriptions of its bases' keys from them.

``jsonargparse`` looks at the docstring of a class and of its direct base, so that keys further up have no help. A class
decorator, since jsonargparse takes a class for settings only if all its bases are dataclasses.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TypeVar

Class = TypeVar("Class", bound=type)

_SECTION = "\nAttributes:\n"
_NAME = re.compile(r"    (\w+):")


def inherits_help(cls: Class) -> Class:
    """Adds to the docstring of a class what its bases say of their keys; what it says of a key itself counts.

    ``Attributes`` has to be the last section of the docstrings.
    """
    docstrings = [inspect.cleandoc(each.__doc__) for each in cls.__mro__[:-1] if each.__doc__]
    if docstrings:  # there are none under python -OO
        cls.__doc__ = _merged(docstrings)
    return cls


def _merged(docstrings: Sequence[str]) -> str:
    """The first docstring, with the attributes that only the later ones describe."""
    described: dict[str, str] = {}
    for docstring in docstrings:
        for name, text in _attributes(docstring.partition(_SECTION)[2]):
            described.setdefault(name, text)
    return docstrings[0].partition(_SECTION)[0] + _SECTION + "\n".join(described.values()) + "\n"


def _attributes(section: str) -> list[tuple[str, str]]:
    """Name and text of each attribute, the text with the lines that continue it."""
    found: list[tuple[str, str]] = []
    for line in section.splitlines():
        if match := _NAME.match(line):
            found.append((match[1], line))
        elif found and line.strip():
            found[-1] = (found[-1][0], f"{found[-1][1]}\n{line}")
    return found
