"""A bound on what the aliases of a YAML file stand for: ten lines can stand for more values than any memory holds."""

from __future__ import annotations

from functools import partial
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

_MOST_VALUES = 1_000_000


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
