"""Process reward models as a configuration names them: made when they are needed, and let go of afterwards."""

from __future__ import annotations

import hashlib
import json
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from erprm.models import AdaptedRewardModel, ProcessRewardModel
from erprm.models.adapters.choice import choose_adapter
from erprm.models.process_reward import STEP_FORMAT_FILE, read_step_format
from erprm.models.scorer import StepScorer
from erprm.models.served import HTTPStepScorer, is_url
from erprm.raft.selectors import Selector
from erprm.rollout.pools import model_key
from erprm.steps import StepFormat

ScorerSetting = str | dict[str, Any]


@contextmanager
def open_scorer(setting: ScorerSetting, key: str, device: torch.device) -> Iterator[StepScorer | Selector]:
    """What a setting names, on a device if it is a model; closed afterwards if it has a ``close`` method.

    Args:
        setting: folder, hub id or URL (see docs/serving.md) of a process reward model, or ``class_path`` with
            ``init_args``.
        key: the configuration key, for messages.
        device: where a model goes.

    Raises:
        ValueError: if there is no such thing, or it scores neither steps nor candidates.
    """
    made = _make(setting, key)
    if isinstance(made, ProcessRewardModel):
        made.configure_model()
    if isinstance(made, torch.nn.Module):
        made.eval().to(device)
    try:
        yield made
    finally:
        close = getattr(made, "close", None)
        if callable(close):
            close()


def _make(setting: ScorerSetting, key: str) -> StepScorer | Selector:
    """The scorer, a model without its weights."""
    if isinstance(setting, str):
        return HTTPStepScorer(setting) if is_url(setting) else AdaptedRewardModel(setting)
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
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{key}: {path!r} cannot be imported: {error}") from error


def scorer_key(setting: ScorerSetting) -> str:
    """Changes with the setting, and with the files of the folders that it names."""
    if isinstance(setting, str):
        return model_key(setting, None)
    named = [value for value in (setting.get("init_args") or {}).values() if isinstance(value, str)]
    folders = {value: model_key(value, None) for value in named if Path(value).is_dir()}
    return hashlib.sha256(json.dumps([setting, folders], sort_keys=True).encode()).hexdigest()


def check_step_formats(policy: str, step_format: object, key: str) -> None:
    """Refuses a policy that was saved with another step format than the reward model reads.

    Args:
        policy: folder or hub id; without a file of a step format in the folder there is nothing to compare.
        step_format: the reward model's, if it has one.
        key: of the reward model, for the message.

    Raises:
        ValueError: naming the fields that differ, with both values.
    """
    saved = Path(policy) / STEP_FORMAT_FILE
    if not isinstance(step_format, StepFormat) or not saved.is_file():
        return
    own, theirs = read_step_format(saved).to_dict(), step_format.to_dict()
    differing = [f"{name}: {own[name]!r} and {theirs[name]!r}" for name in own if own[name] != theirs[name]]
    if differing:
        raise ValueError(
            f"the step format of model {policy!r} ({STEP_FORMAT_FILE} in its folder) and that of {key} differ: "
            f"{'; '.join(differing)}. Give a reward model that was trained on the policy's format; or remove that "
            "file, if style says how the policy's solutions are split"
        )
