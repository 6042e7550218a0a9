"""Chooses the adapter for a checkpoint from its configuration and tokenizer, before any weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file

from erprm.engines.model_files import BackboneError, check_model_folder, load_tokenizer
from erprm.lookup import check_arguments, look_up
from erprm.models.adapters.adapter import Adapter
from erprm.models.adapters.registry import ADAPTERS, AUTO, SAVED, SAVED_KINDS, AdapterSetting
from erprm.models.step_format_file import STEP_FORMAT_FILE, STEP_FORMAT_KEY, read_step_format
from erprm.runs.identity import setting_text
from erprm.steps import StepFormat, StepFormatError


class AdapterError(BackboneError):
    """A checkpoint for which no adapter can be chosen, or to which the chosen one does not belong."""


@dataclass(frozen=True)
class AdapterChoice:
    """An adapter for one checkpoint.

    Attributes:
        name: a key of :data:`ADAPTERS`, ``erprm``, or what was given for one's own.
        adapter: the adapter, with the checkpoint's step format.
        reason: why it was chosen.
    """

    name: str
    adapter: Adapter
    reason: str

    @property
    def step_format(self) -> StepFormat:
        """The layout."""
        return self.adapter.step_format

    @property
    def head(self) -> str:
        """The head that judges a step."""
        return self.adapter.head


def choose_adapter(
    path: str, adapter: AdapterSetting = AUTO, changes: Mapping[str, Any] | None = None
) -> AdapterChoice:
    """The adapter for a checkpoint.

    ``auto`` knows a checkpoint by, in this order, the step format that this package saves (``step_format.json``; for
    token classifiers also in ``config.json``), the architecture in ``config.json`` where it belongs to one adapter
    alone, or its name on the hub. A causal language model that goes by another name is not told from one that is no
    reward model at all, and has to be given its adapter.

    Args:
        path: folder or hub id of the checkpoint.
        adapter: ``auto``, a name, the import path of an :class:`Adapter`, or ``class_path`` with ``init_args``.
        changes: fields in which the checkpoint's step format differs from the adapter's.

    Raises:
        AdapterError: if there is no such checkpoint or adapter, the architecture is unknown or not the adapter's, or
            ``auto`` does not know; lists the names that can be given.
        StepFormatError: if the changes make no step format.
    """
    named = None if adapter in (AUTO, SAVED) else _named(adapter)
    config_file, config = _config(path)
    architecture = _architecture(config_file, config)
    saved = _saved_format(path, config_file, config) if named is None else None
    if named is not None:
        choice = named
    elif saved is not None:
        choice = _saved(*saved, path, architecture)
    elif adapter == SAVED:
        raise AdapterError(f"adapter 'erprm' needs a {STEP_FORMAT_FILE}, which {path!r} does not have")
    else:
        choice = _told(path, architecture)
    if not choice.adapter.matches(architecture):
        fitting = _readers(path, architecture)
        raise AdapterError(
            f"adapter {choice.name!r} does not read {architecture}, which {path!r} is; {', '.join(fitting)} would"
        )
    if not changes:
        return choice
    step_format = StepFormat.from_dict({**choice.step_format.to_dict(), **changes})
    return replace(choice, adapter=replace(choice.adapter, step_format=step_format))


def _named(setting: AdapterSetting) -> AdapterChoice:
    try:
        found = look_up(ADAPTERS, setting, "adapter", names=[AUTO, *ADAPTERS, SAVED])
        adapter = found.entry
        if isinstance(adapter, type):
            arguments = found.arguments
            if isinstance(layout := arguments.get("step_format"), dict):
                arguments = {**arguments, "step_format": StepFormat.from_dict(layout)}
            check_arguments(adapter, arguments, "adapter.init_args")
            adapter = adapter(**arguments)
        elif found.arguments:
            raise ValueError(
                f"adapter.init_args: {setting!r} does not name a class; step_format changes fields of its layout"
            )
    except ValueError as error:
        raise AdapterError(str(error)) from error
    if not isinstance(adapter, Adapter):
        raise AdapterError(f"adapter is {setting!r}; {adapter!r} is not an erprm.models.adapters.Adapter")
    return AdapterChoice(found.name or setting_text(setting, "adapter"), adapter, "named by the user")


def _config(path: str) -> tuple[Path, dict[str, Any]]:
    check_model_folder(path)
    file = _file(path, CONFIG_NAME)
    if file is None:
        is_lora = _file(path, "adapter_config.json") is not None
        remedy = ": LoRA adapters have to be merged into their base model first" if is_lora else ""
        if not is_lora and not Path(path).is_dir():
            raise AdapterError(_why_not_on_hub(path))
        raise AdapterError(f"{path!r} has no {CONFIG_NAME}{remedy}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{file}: is not a JSON object: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{file}: is not a JSON object: {str(config)[:40]}")
    return file, config


def _architecture(file: Path, config: Mapping[str, Any]) -> str:
    try:
        (architecture,) = config["architectures"]
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"{file}: names no architecture; expected 'architectures', a list of one name") from error
    return str(architecture)


def _saved_format(path: str, config_file: Path, config: Mapping[str, Any]) -> tuple[Path, StepFormat] | None:
    """The step format that this package has saved with a checkpoint, and the file it is in."""
    if (saved := _file(path, STEP_FORMAT_FILE)) is not None:
        return saved, read_step_format(saved)
    if STEP_FORMAT_KEY not in config:
        return None
    try:
        return config_file, StepFormat.from_dict(config[STEP_FORMAT_KEY])
    except (AttributeError, ValueError) as error:
        raise AdapterError(f"{config_file}: {error}") from error


def _file(path: str, name: str) -> Path | None:
    """A file of a folder or of the hub, where there is one."""
    try:
        found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    except OSError as error:
        raise AdapterError(f"{path!r} cannot be found: {error}") from error
    return None if found is None else Path(found)


def _why_not_on_hub(path: str) -> str:
    """Why a model of the hub has no configuration: it lacks one, or the hub is away or gives no answer of a hub's."""
    try:
        cached_file(path, CONFIG_NAME)
    except OSError as error:
        return f"{path!r} is not a local folder, and cannot be read from the hub: {str(error).strip().splitlines()[0]}"
    return f"{path!r} was not there at first; try again"


def _readers(path: str, architecture: str) -> list[str]:
    """The adapters that read an architecture."""
    readers = [name for name, adapter in ADAPTERS.items() if adapter.matches(architecture)]
    if not readers:
        raise AdapterError(
            f"{path!r} is of architecture {architecture}, which no adapter reads; they read causal language models "
            "(...ForCausalLM), token classifiers (...ForTokenClassification) and Qwen2ForProcessRewardModel"
        )
    return readers


def _saved(file: Path, step_format: StepFormat, path: str, architecture: str) -> AdapterChoice:
    _readers(path, architecture)
    adapter = next(kind(step_format) for kind in SAVED_KINDS if kind.matches(architecture))
    if (step_format.positive is None) != (adapter.head != "label_tokens"):
        wanted = "the classes of a head" if step_format.positive is None else "tokens"
        raise AdapterError(
            f"{file}: its labels are {wanted}, but the architecture is {architecture}; load it with the class that "
            "trained it"
        )
    return AdapterChoice(SAVED, adapter, f"there is a step format in {file.name}")


def _told(path: str, architecture: str) -> AdapterChoice:
    readers = _readers(path, architecture)
    if len(readers) == 1:
        (name,) = readers
        return AdapterChoice(name, ADAPTERS[name], f"{CONFIG_NAME} names {architecture}")
    last_name = path.rstrip("/").rpartition("/")[2].lower()
    for name in readers:
        if last_name in ADAPTERS[name].published:
            return AdapterChoice(name, ADAPTERS[name], f"it is named {last_name}")
    fits, why_not = _fitting(path, readers)
    if not fits:
        raise AdapterError(f"no adapter fits {path!r}, a {architecture}: {'; '.join(why_not)}")
    raise AdapterError(
        f"auto cannot tell which adapter {path!r}, a {architecture}, needs, or whether it is a reward model at all: "
        f"name one with adapter; its tokenizer fits {', '.join(fits)}"
    )


def _fitting(path: str, names: list[str]) -> tuple[list[str], list[str]]:
    """The adapters whose tokens the tokenizer has, and what the others lack."""
    fits, why_not = [], []
    for name in names:
        try:
            ADAPTERS[name].step_format.bind(load_tokenizer(path))
        except StepFormatError as error:
            why_not.append(f"{name}: {error}")
        else:
            fits.append(name)
    return fits, why_not
