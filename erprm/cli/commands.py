"""Parsing of the commands that are not Lightning's: one settings class a command, from ``--config`` and keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from jsonargparse import ArgumentParser

from erprm.cli.suggestions import with_suggestion

Settings = TypeVar("Settings")


class CommandParser(ArgumentParser):
    """Adds to the message on an unknown key the known key it resembles."""

    def __init__(self, settings: type[Any], **kwargs: Any) -> None:
        """Takes a dataclass of settings as the keys of the command."""
        super().__init__(**kwargs)
        self._known = {field.name for field in dataclasses.fields(settings)}
        # The annotations of a dataclass are texts here: `from __future__ import annotations`.
        self._switches = {f"--{field.name}" for field in dataclasses.fields(settings) if field.type in (bool, "bool")}
        self.add_argument("-c", "--config", action="config", help="YAML file of keys")
        self.add_class_arguments(settings)

    def with_values(self, arguments: Sequence[str]) -> list[str]:
        """The arguments, with ``true`` for a switch that was given no value: ``--quick``."""
        following = [*arguments, "--"][1:]
        return [
            f"{argument}=true" if argument in self._switches and after.startswith("-") else argument
            for argument, after in zip(arguments, following, strict=True)
        ]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with the message."""
        super().error(with_suggestion(message, self._known), ex)
        raise AssertionError("unreachable: error() ends the program")


def parse_settings(settings: type[Settings], arguments: Sequence[str]) -> Settings:
    """The settings of a command from its command line.

    Args:
        settings: a dataclass; its fields are the keys, its docstring their help.
        arguments: the command, then its arguments.

    Returns:
        An instance; wrong keys and values end the program with exit status 2.
    """
    command, *keys = arguments
    description = (settings.__doc__ or "").partition("\n")[0]
    parser = CommandParser(settings, prog=f"erprm {command}", description=description)
    parsed = parser.parse_args(parser.with_values(keys))
    values = parser.instantiate_classes(parsed).as_dict()
    values.pop("config")
    try:
        return settings(**values)
    except ValueError as error:
        parser.error(str(error))
