"""Argument parsers with short error messages, which suggest a known key for an unknown one."""

from __future__ import annotations

import difflib
import functools
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Union

import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse._common import class_instantiators
from jsonargparse._typehints import ActionTypeHint, type_to_str
from jsonargparse._util import parse_value_or_config

from erprm.cli.failures import is_of_the_user
from erprm.cli.yaml_files import check_configuration, refusal
from erprm.errors import UsageError, UserError
from erprm.lookup import accepted_arguments

# jsonargparse 4.48 names an unknown key in one of these ways.
_UNKNOWN_KEY = re.compile(
    r"(?:Key|Option) '(?P<key>[\w.]+)' is not (?:expected|accepted)"
    r"|does not accept option '(?P<option>[\w.]+)'"
    r"|[Uu]nrecognized arguments: --(?P<argument>[\w.]+)"
)
# Lines of its messages that repeat what other lines say, or show its own objects.
_NOISE = re.compile(
    r"Does not validate against any of the Union subtypes$|Subtypes: |Errors:$|- Expected a <class '[^']*'>$"
    r"|Given value type: |Given value: |Subclass types expect one of:$|- a class path \(str\)$|- a dict with(?:out)? "
)
_ALTERNATIVE, _PROBLEM = "- Not a valid subclass of ", "- Problem with given class_path "
_EXPECTED, _GIVEN = re.compile(r"- Expected an? <class '(?:\w+\.)*(\w+)'>"), re.compile(r"\s*Given value: (.*)")
_OBJECTS = re.compile(r"\. Got value: Namespace\(.*")
# What argparse takes for a value rather than a key: `--eta -inf` and `--eta -1e-3`, too.
_NEGATIVE_NUMBER = re.compile(r"^-(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$|^-\.?inf$", re.IGNORECASE)
_INLINE = "--config"
# No array, file or seed takes integers of more bits.
_BEYOND = 2**63


class ShortErrors(ArgumentParser):
    """A parser whose errors are :class:`UsageError`, and which takes no abbreviated keys."""

    _failure: Exception | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what :class:`jsonargparse.ArgumentParser` takes."""
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self._negative_number_matcher = _NEGATIVE_NUMBER

    def known_keys(self) -> set[str]:
        """The keys that an unknown one is compared with."""
        return {action.dest for action in self._actions}

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuses the arguments.

        Raises:
            UsageError: with the message.
        """
        if not self.exit_on_error:
            super().error(message, ex)  # an inner parser, whose error becomes a part of the outer one's
        raise UsageError(with_suggestion(without_noise(message), self.known_keys())) from ex

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parses arguments; ``--key.init_args.x`` changes one argument of a class that a file names."""
        for action in self._actions:
            if type(action) is ActionTypeHint and _takes_mapping(action._typehint):
                action.__class__ = _MappingAction
        return super().parse_args(*args, **kwargs)

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Parses a configuration file.

        Raises:
            UsageError: if it is not text.
        """
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except UnicodeDecodeError as error:
            raise UsageError(f"{cfg_path}: byte {error.start + 1} is not UTF-8 text; expected a YAML file") from error

    def _load_config_parser_mode(self, cfg_str: str, cfg_path: Any = "", *args: Any, **kwargs: Any) -> Namespace:
        file = str(cfg_path) or _INLINE
        check_configuration(cfg_str, file)
        try:
            return super()._load_config_parser_mode(cfg_str, cfg_path, *args, **kwargs)
        except TypeError as error:
            if isinstance(error.__cause__, yaml.YAMLError):
                raise refusal(error.__cause__, cfg_str, file) from error
            raise

    def validate(self, cfg: Namespace, *args: Any, **kwargs: Any) -> None:
        """Checks values; unlike jsonargparse's, also that none is null where a value is needed.

        Raises:
            TypeError: names the key.
        """
        super().validate(cfg, *args, **kwargs)
        for key, value in cfg.items(branches=True):
            if isinstance(value, int) and not -_BEYOND <= value < _BEYOND:
                raise TypeError(f"{key} is {value}; it must be an integer of 64 bits")
            if key in (self.groups or ()) and (value is None or isinstance(value, int | float | str | list)):
                found = "null" if value is None else repr(value)
                raise TypeError(f"{key} is {found}; it must be {_PLAIN[dict]} (leave it out for the defaults)")
            if value is not None:
                continue
            action = next((action for action in self._actions if action.dest == key), None)
            if isinstance(action, ActionTypeHint) and action.default is not None and not _takes_null(action._typehint):
                raise TypeError(
                    f"{key} is null; it must be {_described(action._typehint)} (leave it out for the default)"
                )

    def instantiate_classes(self, cfg: Namespace, *args: Any, **kwargs: Any) -> Namespace:
        """Makes the objects that a configuration names.

        Raises:
            UsageError: if a class of the package or of the libraries it configures refuses its arguments.
            Exception: what the class of a user raised.
        """
        self._failure = None
        try:
            return super().instantiate_classes(cfg, *args, **kwargs)
        except (TypeError, ValueError) as error:
            failure = self._failure or error
            if class_instantiators.get() or isinstance(failure, UserError) or not is_of_the_user(failure):
                raise failure  # noqa: B904 - with its own cause
            raise UsageError(without_noise(str(failure))) from failure

    def _get_instantiators(self) -> Any:
        """Those of jsonargparse, which note what a class raised: its unions replace it by an error of their own."""
        found = super()._get_instantiators()  # type: ignore[no-untyped-call]
        if class_instantiators.get():
            return found  # An inner parser, whose failures the outer one notes.
        return {**{kind: self._noting(make) for kind, make in found.items()}, (object, True): self._noting(_make)}

    def _noting(self, make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def noting(*args: Any, **kwargs: Any) -> Any:
            try:
                return make(*args, **kwargs)
            except (TypeError, ValueError) as error:
                self._failure = error
                raise

        return noting


def _make(class_type: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return class_type(*args, **kwargs)


class _MappingAction(ActionTypeHint):
    """A key that holds a mapping: ``class_path`` with ``init_args``, or keys of the user's own.

    jsonargparse overrides arguments of classes that it makes itself. These are made later.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args:
            return super().__call__(**kwargs)  # type: ignore[no-untyped-call]
        parser, cfg, text, option = args
        before = cfg.get(self.dest)
        place = (option or "").removeprefix(f"--{self.dest}").removeprefix(".")
        names_class = str in _members(self._typehint)
        value, _ = parse_value_or_config(text, enable_path=False, simple_types=bool(place))
        if place:
            value = _changed(before, place.split("."), value, names_class)
        elif isinstance(value, dict) and "class_path" in value:
            value = _with_class(before, value["class_path"], value)
        elif names_class and isinstance(before, dict) and isinstance(value, str):
            with_arguments = _with_class(before, value, {"class_path": value})
            value = with_arguments if "init_args" in with_arguments else value
        checked = self._check_type_(value, cfg=None, mode=parser.parser_mode)  # type: ignore[no-untyped-call]
        cfg.update(checked, self.dest)
        return None


def _changed(before: Any, place: list[str], value: Any, names_class: bool) -> Any:
    """A mapping with one value in it set; where a class may be named, by the rules of ``class_path``."""
    first, *rest = place
    if names_class or (isinstance(before, dict) and "class_path" in before):
        if isinstance(before, str):
            before = {"class_path": before}
        if place == ["class_path"]:
            return _with_class(before, value, {"class_path": value})
        if first not in ("class_path", "init_args"):
            first, rest = "init_args", place
    before = dict(before) if isinstance(before, dict) else {}
    before[first] = _changed(before.get(first), rest, value, names_class=False) if rest else value
    return before


def _with_class(before: Any, path: Any, setting: Mapping[str, Any]) -> dict[str, Any]:
    """A setting of a class, with those earlier arguments of it, or of another class, that it takes and does not set."""
    earlier = (before.get("init_args") or {}) if isinstance(before, dict) else {}
    kept = (
        earlier if isinstance(before, dict) and before.get("class_path") == path else accepted_arguments(path, earlier)
    )
    arguments = {**kept, **(setting.get("init_args") or {})}
    return {**setting, **({"init_args": arguments} if arguments else {})}


def _members(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _takes_mapping(annotation: Any) -> bool:
    """True for a type of plain mappings, whose values are not objects that a parser makes."""
    plain = {dict[str, Any], dict[str, str | dict[str, Any]]}
    return any(member in plain for member in _members(annotation))


def _takes_null(annotation: Any) -> bool:
    return any(member in (Any, None, types.NoneType, object) for member in _members(annotation))


_PLAIN: dict[Any, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "keys and their values",
}


def _described(annotation: Any) -> str:
    """What a key takes, in words."""
    found = []
    for member in _members(annotation):
        if typing.get_origin(member) is typing.Literal:
            found.append(f"one of {', '.join(map(str, typing.get_args(member)))}")
        else:
            found.append(_PLAIN.get(typing.get_origin(member) or member) or str(type_to_str(member)))  # type: ignore[no-untyped-call]
    return " or ".join(found)


def without_noise(message: str) -> str:
    """A message of jsonargparse's, without the lines that do not help."""
    lines = [_OBJECTS.sub("", line) for line in message.splitlines()]
    kept = [line for line in lines if not _NOISE.match(line.strip())]
    if any(_PROBLEM in line for line in kept):
        kept = [line for line in kept if not line.strip().startswith(_ALTERNATIVE)]
    if len(kept) > 1 or len(lines) < 2:
        return "\n".join(kept)
    expected = [name.replace("NoneType", "null") for name in _EXPECTED.findall(message)]
    given = next((match[1] for line in lines if (match := _GIVEN.match(line))), None)
    if not expected or given is None:
        return "\n".join(lines)
    return "\n".join([*kept, f"  expected {' or '.join(expected)}, found {given}"])


def with_suggestion(message: str, known_keys: Iterable[str]) -> str:
    """The message, with a suggestion behind it where it names an unknown key close to a known one."""
    match = _UNKNOWN_KEY.search(message)
    if match is None:
        return message
    unknown = next(group for group in match.groups() if group)
    close = difflib.get_close_matches(unknown.rpartition(".")[2], {key.rpartition(".")[2] for key in known_keys}, n=1)
    return f"{message}\n  did you mean {close[0]!r}?" if close else message
