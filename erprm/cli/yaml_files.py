"""Checks of YAML configuration: errors with file and line, no key given twice, and a bound on what aliases stand for.

Ten lines with aliases can stand for more values than any memory holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from erprm.errors import UsageError

_MOST_VALUES = 1_000_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def bound_yaml_aliases() -> None:
    """Has jsonargparse refuse YAML whose aliases stand for too many values, or for what they are a part of."""
    load = get_loader("yaml")
    if not isinstance(load, partial):
        set_loader("yaml", partial(_load_bounded, load), (yaml.YAMLError,))


def _load_bounded(load: Any, text: str) -> Any:
    try:
        # Before it is loaded: merge keys (`<<: *other`) are written out by then.
        if "*" in text and (count := _values_in(yaml.compose(text, yaml.SafeLoader), {})) > _MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for {count:,} values; at most {_MOST_VALUES:,} are read")
        return load(text)
    except RecursionError as error:
        raise yaml.YAMLError("the values are nested too deeply") from error


def _values_in(node: Any, known: dict[int, int | None]) -> int:
    """How many values there are, each counted wherever an alias puts it; looks at each once."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = None  # Under way.
        parts = [value for _, value in node.value] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values_in(part, known) for part in parts)
    count = known[id(node)]
    if count is None:
        raise yaml.YAMLError("an alias stands for what it is a part of")
    return count


def check_configuration(text: str, file: str) -> None:
    """Refuses text that is not YAML of keys and values, or that gives a key twice.

    Raises:
        UsageError: with the file and the line.
    """
    try:
        root = yaml.compose(text, _LOADER)
    except yaml.YAMLError as error:
        raise refusal(error, text, file) from error
    except RecursionError as error:
        raise UsageError(f"{file}: the values are nested too deeply") from error
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else "no key" if root is None else "a single value"
        raise UsageError(f"{file} holds {found}; expected keys and their values, such as seed: 1")
    for node in _mappings_in(root):
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                found = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
                raise UsageError(
                    f"{file}, line {line}: a key is {found}; keys are texts (put it in quotes if you mean it)"
                )
            if key.value in lines:
                raise UsageError(
                    f"{file}, line {line}: {key.value!r} is set twice, first in line {lines[key.value]}; give it once"
                )
            lines[key.value] = line


def _mappings_in(root: Any) -> Iterator[Any]:
    """All mappings below a node, each once."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [value for _, value in node.value]
        else:
            waiting += node.value


def refusal(error: yaml.YAMLError, text: str, file: str) -> UsageError:
    """What to tell the user of text that cannot be read as YAML."""
    mark = getattr(error, "problem_mark", None)
    position = getattr(error, "position", None)
    if mark is not None:
        line = mark.line
    elif isinstance(position, int):
        line = text.count("\n", 0, position)
    else:
        return UsageError(f"{file}: {error}")
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "this is not YAML"
    lines = text.splitlines()
    shown = lines[line].strip() if line < len(lines) else ""
    tab = "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())] if line < len(lines) else False
    hint = "; YAML is indented with spaces, and here is a tab" if tab else ""
    return UsageError(f"{file}, line {line + 1}: {reason}{hint}" + (f"\n  {shown[:100]}" if shown else ""))
