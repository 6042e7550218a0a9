"""Packages whose public names are loaded on first use (PEP 562), so that importing one of them is quick.

A package lists its public names once, as imports for type checkers::

    if TYPE_CHECKING:
        from erprm.models.policy import PolicyModel as PolicyModel

    __all__, __getattr__, __dir__ = public_names(__name__, __file__)
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path


def listed_names(source: str) -> dict[str, str]:
    """The names that a package's source imports below ``if TYPE_CHECKING``, each with the module it comes from."""
    return {
        name.name: statement.module
        for block in ast.parse(source).body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for name in statement.names
    }


def public_names(package: str, file: str) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """The ``__all__``, ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: the package's ``__name__``.
        file: its ``__file__``, whose imports below ``if TYPE_CHECKING`` name what is public and where it is defined.
    """
    module_of = listed_names(Path(file).read_text(encoding="utf-8"))

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(module_of[name]), name)

    names = sorted(module_of)
    return names, load, lambda: names
