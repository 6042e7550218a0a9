"""Look up what a setting names: an entry of a table, or something of the user's own by its import path.

The registries of the package are plain tables, ``dict[str, X]``. A setting is a name in the table, an import path such
as ``my_engines.Echo``, or ``class_path`` with ``init_args``, whose ``class_path`` is either of these.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import operator
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

Entry = TypeVar("Entry")
Setting = str | dict[str, Any]


@dataclass(frozen=True)
class Found(Generic[Entry]):
    """Result of looking up a setting.

    Attributes:
        entry: the entry of the table, or what was imported.
        name: its name in the table; None for what was imported.
        arguments: ``init_args`` of the setting.
    """

    entry: Entry | Any
    name: str | None
    arguments: dict[str, Any] = field(default_factory=dict)


def setting_type(names: Iterable[str], *others: Any) -> Any:
    """The type of a key that takes names: parsers and ``--help`` list them, and any other text is an import path."""
    return functools.reduce(operator.or_, (str, *others), Literal[tuple(names)])


def look_up(table: Mapping[str, Entry], setting: object, key: str, names: Sequence[str] | None = None) -> Found[Entry]:
    """Looks up the entry or object that a setting names.

    Args:
        table: entries by name.
        setting: a name, an import path, or ``class_path`` with ``init_args``.
        key: the configuration key, for messages.
        names: what messages list; by default those of the table.

    Raises:
        ValueError: if it names nothing; says what would be accepted, and which name is close.
    """
    names = list(table) if names is None else names
    path: object = setting
    arguments: Any = {}
    if isinstance(setting, dict):
        path, arguments = setting.get("class_path"), setting.get("init_args") or {}
        if set(setting) - {"class_path", "init_args"} or not isinstance(arguments, dict):
            raise ValueError(f"{key} is {setting!r}; it must be {_accepted(names)}")
        key = f"{key}.class_path"
    if not isinstance(path, str):
        raise ValueError(f"{key} is {path!r}; it must be {_accepted(names)}")
    if path in table:
        return Found(table[path], path, dict(arguments))
    return Found(imported(path, key, _accepted(names), known=names), None, dict(arguments))


def imported(path: str, key: str, accepted: str, known: Iterable[str] = ()) -> Any:
    """Imports the object at an import path, such as ``my_engines.Echo``.

    Raises:
        ValueError: if nothing is there; says what would be accepted, and which of the known names is close.
    """
    if "." not in path and ":" not in path:
        raise ValueError(f"{key} is {path!r}; it must be {accepted}{did_you_mean(path, known)}")
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        hint = " (commands look in the working folder, too)" if isinstance(error, ImportError) else ""
        raise ValueError(f"{key}: {path!r} cannot be imported: {error}{hint}; it must be {accepted}") from error


def check_arguments(target: Any, arguments: Mapping[str, Any], key: str) -> None:
    """Compares arguments with a signature, before anything is made.

    Raises:
        ValueError: if they do not go together; shows the signature.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # some built-ins have none
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{key}: {error}; {target.__name__} takes {signature}") from error


def class_of(setting: Mapping[str, Any], key: str, accepted: str) -> Any:
    """The object at the ``class_path`` of a setting, beside which there may be ``init_args`` and nothing else.

    Raises:
        ValueError: if nothing is there, or the setting is another; says what would be accepted.
    """
    path, arguments = setting.get("class_path"), setting.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, dict) or set(setting) - {"class_path", "init_args"}:
        raise ValueError(f"{key} is {setting!r}; it must be {accepted}")
    return imported(path, key, accepted)


def made(setting: Mapping[str, Any], key: str, accepted: str) -> Any:
    """Makes what the ``class_path`` and ``init_args`` of a setting name.

    Raises:
        ValueError: if it cannot be made; says why.
    """
    target, arguments = class_of(setting, key, accepted), setting.get("init_args") or {}
    check_arguments(target, arguments, f"{key}.init_args")
    try:
        return target(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {setting['class_path']!r} cannot be made: {error}") from error


def accepted_arguments(path: object, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some arguments that the class at an import path takes by name; none if it cannot be imported."""
    try:
        parameters = inspect.signature(pkgutil.resolve_name(path)).parameters  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError, ValueError):
        return {}
    return {name: value for name, value in arguments.items() if name in parameters}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one that is close to it, if there is one."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _accepted(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}, an import path, or class_path with init_args"
