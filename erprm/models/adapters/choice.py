"""Which adapter a checkpoint needs: told by its configuration and its tokenizer, before any weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file

from erprm.engines.model_files import load_tokenizer
from erprm.models.backbone.loading import BackboneError, check_local
from erprm.models.process_reward import STEP_FORMAT_FILE, STEP_FORMAT_KEY, read_step_format
from erprm.steps import STEP_FORMAT_PRESETS, StepFormat, StepFormatError

Head = Literal["label_tokens", "two_classes", "two_classes_mlp"]
"""What judges a step: two tokens of the vocabulary, a linear layer of two classes, or two layers and a ReLU between."""

AUTO, SAVED = "auto", "erprm"


class AdapterError(BackboneError):
    """A checkpoint for which no adapter can be chosen, or to which the chosen one does not belong."""


@dataclass(frozen=True)
class Adapter:
    """How the checkpoints of a project are read.

    Attributes:
        step_format: the layout that the project's own code gives them.
        head: what judges a step.
        published: names of checkpoints on the hub, without their owner, in lower case.
    """

    step_format: StepFormat
    head: Head
    published: tuple[str, ...] = ()


def _preset(name: str) -> StepFormat:
    # TRL tokenises in pieces, which the preset does, too; the others tokenise the whole text.
    preset = STEP_FORMAT_PRESETS[name]
    return replace(preset, whole_text=not preset.standalone_pieces)


ADAPTERS: dict[str, Adapter] = {
    "er_prm": Adapter(_preset("er_prm"), "label_tokens", ("llama3.1-math-prm",)),
    "math_shepherd": Adapter(_preset("math_shepherd"), "label_tokens", ("math-shepherd-mistral-7b-prm",)),
    "rlhflow": Adapter(
        _preset("rlhflow"), "label_tokens", ("llama3.1-8b-prm-mistral-data", "llama3.1-8b-prm-deepseek-data")
    ),
    "qwen_prm": Adapter(_preset("qwen_prm"), "two_classes_mlp"),
    "trl": Adapter(_preset("trl"), "two_classes"),
}
"""Adapters by name. Besides, ``erprm`` reads what this package has saved, with the step format saved beside it."""


@dataclass(frozen=True)
class AdapterChoice:
    """An adapter for one checkpoint.

    Attributes:
        name: a key of :data:`ADAPTERS`, or ``erprm``.
        step_format: the layout.
        head: what judges a step.
        reason: why it was chosen.
    """

    name: str
    step_format: StepFormat
    head: Head
    reason: str


def choose_adapter(path: str, adapter: str = AUTO, changes: Mapping[str, Any] | None = None) -> AdapterChoice:
    """The adapter for a checkpoint.

    ``auto`` knows a checkpoint by, in this order, the step format that this package saves (``step_format.json``; for
    token classifiers also in ``config.json``), the architecture in ``config.json`` where it belongs to one adapter
    alone, or its name on the hub. A causal language model that goes by another name is not told from one that is no
    reward model at all, and has to be given its adapter.

    Args:
        path: folder or hub id of the checkpoint.
        adapter: ``auto`` or a name.
        changes: fields in which the checkpoint's step format differs from the adapter's.

    Raises:
        AdapterError: if there is no such checkpoint or adapter, the architecture is unknown or not the adapter's, or
            ``auto`` does not know; lists the names that can be given.
        StepFormatError: if the changes make no step format.
    """
    names = (*ADAPTERS, SAVED)
    if adapter not in (AUTO, *names):
        raise AdapterError(f"adapter is {adapter!r}; it must be one of {', '.join((AUTO, *names))}")
    config_file, config = _config(path)
    architecture = _architecture(config_file, config)
    head = _head_of(architecture, path)
    saved = _saved_format(path, config_file, config) if adapter in (AUTO, SAVED) else None
    if saved is not None:
        choice = _saved(*saved, head, architecture)
    elif adapter == SAVED:
        raise AdapterError(f"adapter 'erprm' needs a {STEP_FORMAT_FILE}, which {path!r} has not")
    elif adapter == AUTO:
        choice = _told(path, head, architecture)
    else:
        choice = AdapterChoice(adapter, ADAPTERS[adapter].step_format, head, "named by the user")
    if choice.name in ADAPTERS and head != ADAPTERS[choice.name].head:
        fitting = [name for name, other in ADAPTERS.items() if other.head == head]
        raise AdapterError(
            f"adapter {choice.name!r} does not read {architecture}, which {path!r} is; {', '.join(fitting)} would"
        )
    if not changes:
        return choice
    step_format = StepFormat.from_dict({**choice.step_format.to_dict(), **changes})
    return replace(choice, step_format=step_format)


def _config(path: str) -> tuple[Path, dict[str, Any]]:
    check_local(path)
    file = _file(path, CONFIG_NAME)
    if file is None:
        is_lora = _file(path, "adapter_config.json") is not None
        remedy = ": LoRA adapters have to be merged into their base model first" if is_lora else ""
        raise AdapterError(f"{path!r} has no {CONFIG_NAME}{remedy}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{file}: is no object of JSON: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{file}: is no object of JSON: {str(config)[:40]}")
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


def _head_of(architecture: str, path: str) -> Head:
    if architecture == "Qwen2ForProcessRewardModel":
        return "two_classes_mlp"
    if architecture.endswith("ForTokenClassification"):
        return "two_classes"
    if architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return "label_tokens"
    raise AdapterError(
        f"{path!r} is of architecture {architecture}, which no adapter reads; they read causal language models "
        "(...ForCausalLM), token classifiers (...ForTokenClassification) and Qwen2ForProcessRewardModel"
    )


def _saved(file: Path, step_format: StepFormat, head: Head, architecture: str) -> AdapterChoice:
    if (step_format.positive is None) != (head != "label_tokens"):
        wanted = "the classes of a head" if step_format.positive is None else "tokens"
        raise AdapterError(
            f"{file}: its labels are {wanted}, but the architecture is {architecture}; load it with the class that "
            "trained it"
        )
    return AdapterChoice(SAVED, step_format, head, f"there is a step format in {file.name}")


def _told(path: str, head: Head, architecture: str) -> AdapterChoice:
    of_architecture = [name for name, adapter in ADAPTERS.items() if adapter.head == head]
    if len(of_architecture) == 1:
        (name,) = of_architecture
        return AdapterChoice(name, ADAPTERS[name].step_format, head, f"{CONFIG_NAME} names {architecture}")
    last_name = path.rstrip("/").rpartition("/")[2].lower()
    for name in of_architecture:
        if last_name in ADAPTERS[name].published:
            return AdapterChoice(name, ADAPTERS[name].step_format, head, f"it is named {last_name}")
    fits, why_not = _fitting(path, of_architecture)
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
