"""Parses the commands that are not Lightning's: each fills one settings class from ``--config`` and keys."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from docstring_parser import DocstringStyle, parse
from jsonargparse import Namespace

from erprm.cli.failures import is_of_the_user
from erprm.cli.parser import ShortErrors
from erprm.errors import UsageError

Settings = TypeVar("Settings")


# Metadata of a field of settings that is given without a key before it, once (or not, if it has a default) or several
# times.
POSITIONAL = {"positional": True}
POSITIONALS = {"positional": True, "many": True}
# Metadata of a field that takes two values behind its key: ``--jsonl IN OUT``.
PAIR = {"pair": True}


def key(name: str) -> dict[str, str]:
    """Metadata of a field whose key is no name that a field can have, such as ``from``."""
    return {"key": name}


def key_of(field: dataclasses.Field[Any]) -> str:
    """The key of a field, as it is written in a file or after the two dashes."""
    return str(field.metadata.get("key", field.name))


class CommandParser(ShortErrors):
    """The keys of a command from a dataclass of settings."""

    def __init__(self, settings: type[Any] | None = None, **kwargs: Any) -> None:
        """Takes a dataclass of settings as the keys of the command; without one it has none.

        For the arguments of a class that a value names, jsonargparse makes a parser of the same kind.
        """
        super().__init__(**kwargs)
        if settings is not None:
            _evaluate_annotations(settings)
        self._switches: set[str] = set()
        if settings is not None:
            self._add_keys(settings)

    def _add_keys(self, settings: type[Any]) -> None:
        fields, types = dataclasses.fields(settings), typing.get_type_hints(settings)
        self._switches = {f"--{key_of(field)}" for field in fields if types[field.name] is bool}
        self.add_argument("-c", "--config", action="config", help="YAML file of keys")
        own = [field for field in fields if field.metadata]
        self.add_class_arguments(settings, skip={field.name for field in own})
        help_of = {doc.arg_name: doc.description for doc in parse(settings.__doc__ or "", DocstringStyle.GOOGLE).params}
        for field in own:
            if field.metadata.get("many"):
                self.add_argument(field.name, nargs="+", type=str, help=help_of[field.name])
            elif field.metadata.get("pair"):
                self.add_argument(f"--{field.name}", nargs=2, type=str, help=help_of[field.name])
            elif field.metadata.get("positional"):
                optional = {} if field.default is dataclasses.MISSING else {"nargs": "?", "default": field.default}
                self.add_argument(field.name, type=types[field.name], help=help_of[field.name], **optional)
            else:
                needed = field.default is dataclasses.MISSING
                options: dict[str, Any] = {"required": True} if needed else {"default": field.default}
                self.add_argument(f"--{key_of(field)}", type=types[field.name], help=help_of[field.name], **options)

    def with_values(self, arguments: Sequence[str]) -> list[str]:
        """The arguments, with ``true`` for a switch that was given no value: ``--quick``."""
        following = [*arguments, "--"][1:]
        return [
            f"{argument}=true" if argument in self._switches and after not in ("true", "false") else argument
            for argument, after in zip(arguments, following, strict=True)
        ]


def _evaluate_annotations(settings: type[Any]) -> None:
    """Puts types in the place of their names in the signatures of dataclasses, those of nested settings included.

    jsonargparse would run what stands below ``if TYPE_CHECKING`` in their modules, and so import torch, to do it.
    """
    types = typing.get_type_hints(settings)
    settings.__init__.__annotations__.update(types)
    for annotation in types.values():
        for member in (annotation, *typing.get_args(annotation)):
            if dataclasses.is_dataclass(member) and isinstance(member, type):
                _evaluate_annotations(member)


def with_home(values: Any) -> Any:
    """Settings with the home folder in the place of ``~`` at the start of a text, as a shell would have it."""
    if isinstance(values, str):
        return str(Path(values).expanduser()) if values.startswith("~/") else values
    if isinstance(values, dict):
        return {key: with_home(value) for key, value in values.items()}
    return [with_home(value) for value in values] if isinstance(values, list) else values


def _as_written(value: Any) -> Any:
    """Settings with classes as ``class_path`` and ``init_args``, as they stand in a file."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {key: _as_written(each) for key, each in value.items()}
    return [_as_written(each) for each in value] if isinstance(value, list) else value


def _underscored(argument: str) -> str:
    """``--on-error=skip`` as ``--on_error=skip``: keys are names of fields, and many write options with dashes."""
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


def parse_settings(settings: type[Settings], arguments: Sequence[str]) -> Settings:
    """The settings of a command: a dataclass whose fields are the keys, and whose docstring is their help.

    Raises:
        UsageError: if a key is unknown, or a value is not accepted.
    """
    command, *keys = (_underscored(argument) for argument in arguments)
    description = (settings.__doc__ or "").partition("\n")[0]
    parser = CommandParser(settings, prog=f"erprm {command}", description=description)
    parsed = parser.parse_args(parser.with_values(keys))
    types = typing.get_type_hints(settings)
    # What is handed on to another command names its classes; jsonargparse would make them here.
    handed_on = {name: _as_written(parsed.pop(name)) for name in types if types[name] == dict[str, Any]}
    values = with_home({**parser.instantiate_classes(parsed).as_dict(), **handed_on})
    try:
        return settings(**{field.name: values[key_of(field)] for field in dataclasses.fields(settings)})  # type: ignore[arg-type]
    except ValueError as error:
        if not is_of_the_user(error):
            raise
        raise UsageError(str(error)) from error
