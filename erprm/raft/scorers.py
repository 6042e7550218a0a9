"""Opens the process reward models that a configuration names when they are needed, and closes them afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from erprm.lookup import imported
from erprm.models.adapters.choice import choose_adapter
from erprm.models.scorers import is_url
from erprm.models.scorers.opening import check_step_formats, named_scorer, opened_scorer
from erprm.raft.config import OWN_SELECTOR
from erprm.raft.selectors import Selector
from erprm.runs.identity import content_hash, model_key, setting_content
from erprm.scoring import StepScorer

ScorerSetting = str | dict[str, Any]


def scorer_config_key(name: str) -> str:
    """The configuration key of a scorer, for messages."""
    return name if name == OWN_SELECTOR else f"scorers.{name}"


@contextmanager
def open_scorer(setting: ScorerSetting, key: str, device: torch.device) -> Iterator[StepScorer | Selector]:
    """Opens the scorer that a setting names, on a device if it is a model; closes it afterwards if it can.

    Args:
        setting: folder, hub id or URL (see docs/serving.md) of a process reward model, or ``class_path`` with
            ``init_args``.
        key: the configuration key, for messages.
        device: where a model goes.

    Raises:
        ValueError: if there is no such thing, or it scores neither steps nor candidates.
    """
    with opened_scorer(_make(setting, key), device) as scorer:
        yield scorer


def _make(setting: ScorerSetting, key: str) -> StepScorer | Selector:
    """The scorer, a model without its weights."""
    if isinstance(setting, str):
        return named_scorer(setting)
    made_by = _class_of(setting, key)
    try:
        made = made_by(**(setting.get("init_args") or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {setting['class_path']!r} cannot be made: {error}") from error
    if not isinstance(made, StepScorer | Selector):
        raise ValueError(f"{key}: {setting['class_path']!r} has neither score_steps(solutions) nor scores(problems)")
    return made


def check_scorer(setting: ScorerSetting, key: str, policy: str) -> None:
    """Finds what a setting names, without making it, and compares its step format with the policy's where it is known.

    Raises:
        ValueError: if it names nothing, or the formats differ.
    """
    if isinstance(setting, str) and is_url(setting):
        return  # Its server is asked when something is to be scored.
    if isinstance(setting, str):
        check_step_formats(policy, choose_adapter(setting).step_format, key)
    else:
        _class_of(setting, key)


def _class_of(setting: dict[str, Any], key: str) -> Any:
    path, arguments = setting.get("class_path"), setting.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, dict) or set(setting) - {"class_path", "init_args"}:
        raise ValueError(f"{key} is {setting!r}; it must be a folder, a hub id, a URL, or class_path with init_args")
    return imported(path, key, "the import path of a class with score_steps or scores")


def scorer_key(setting: ScorerSetting) -> str:
    """Changes with the setting, and with the files of the folders that it names."""
    if isinstance(setting, str):
        return model_key(setting)
    folders = {value: model_key(value) for value in _texts(setting.get("init_args")) if Path(value).is_dir()}
    return content_hash([setting_content(setting, "scorers"), folders])


def _texts(value: object) -> Iterator[str]:
    """Every text in the values of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))
