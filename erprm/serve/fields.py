"""Values from strangers for the fields of a dataclass: plain types only, and nothing is imported or made by name."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from erprm.errors import InputError
from erprm.lookup import did_you_mean
from erprm.runs.atomic import encodable

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = _shown.maxlong = 80
_NAMES: dict[Any, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    dict: "an object",
}
# What an integer of a request is for has no larger one; a seed has 63 bits.
_BEYOND = 2**63


class FieldError(InputError):
    """A field that is unknown, missing, or has a wrong value.

    Attributes:
        field: its name.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def checked_fields(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Checks that values are those of a dataclass.

    Args:
        cls: a dataclass, whose annotations say what a field takes.
        values: values of JSON by name.

    Returns:
        The values.

    Raises:
        FieldError: names a field that does not exist, is missing, or has a value that it does not take.
    """
    known = {field.name: field for field in dataclasses.fields(cls) if field.init}
    annotations = typing.get_type_hints(cls)
    for name, value in values.items():
        if name not in known:
            raise unknown_field(name, known)
        if not takes(annotations[name], value):
            raise FieldError(name, f"{name} is {shown(value)}; it must be {described(annotations[name])}")
    for name, field in known.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in values and not has_default:
            raise FieldError(name, f"{name} is missing; it must be {described(annotations[name])}")
    return dict(values)


def read_texts(cls: type[Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of fields of a dataclass that are written as text, such as ``16``, ``0.5``, ``true`` or ``null``.

    Raises:
        FieldError: names a field that does not take what the text says.
    """
    hints = typing.get_type_hints(cls)
    values = {
        name: next((value for value in (_value(text), text) if takes(hints[name], value)), text)
        for name, text in texts.items()
    }
    return checked_fields(cls, values)


def unknown_field(name: str, known: Iterable[str]) -> FieldError:
    """The error for a name that is none of the known ones."""
    listed = ", ".join(known) or "none"
    return FieldError(name, f"{shown(name)} is not supported; known are {listed}{did_you_mean(name, known)}")


def takes(annotation: Any, value: object) -> bool:
    """True if a value is of a type; numbers must be finite, and texts must be Unicode that can be encoded."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(takes(member, value) for member in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is list:
        return isinstance(value, list) and all(takes(arguments[0], each) for each in value)
    if annotation in (type(None), bool):
        return type(value) is (bool if annotation is bool else type(None))
    if annotation is int:
        return type(value) is int and -_BEYOND <= value < _BEYOND
    if annotation is float:
        return type(value) in (int, float) and abs(value) < math.inf  # type: ignore[arg-type]
    if annotation is str:
        return isinstance(value, str) and encodable(value) == value
    return (origin or annotation) is dict and isinstance(value, dict)


def described(annotation: Any) -> str:
    """What a type takes, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(described(member) for member in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is list:
        return "a list" if arguments[0] is Any else f"a list, each {described(arguments[0])}"
    return _NAMES.get(origin or annotation, "what only the server can set")


def shown(value: object) -> str:
    """A value for a message, cut to some length."""
    return _shown.repr(value)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
