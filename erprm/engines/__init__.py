"""Policies that complete prompts: engines, their settings, and what goes in and out of them."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.engines.base import Completion as Completion
    from erprm.engines.base import Engine as Engine
    from erprm.engines.base import EngineError as EngineError
    from erprm.engines.base import PromptError as PromptError
    from erprm.engines.base import Sampling as Sampling
    from erprm.engines.base import TokenUsage as TokenUsage
    from erprm.engines.model_files import BackboneError as BackboneError
    from erprm.engines.model_files import load_tokenizer as load_tokenizer
    from erprm.engines.openai import OpenAIEngine as OpenAIEngine
    from erprm.engines.prompts import PromptFormat as PromptFormat
    from erprm.engines.registry import ENGINES as ENGINES
    from erprm.engines.registry import RegisteredEngine as RegisteredEngine
    from erprm.engines.registry import open_engine as open_engine
    from erprm.engines.settings import EngineOptions as EngineOptions
    from erprm.engines.settings import EngineSettings as EngineSettings
    from erprm.engines.settings import ServerConnection as ServerConnection
    from erprm.engines.settings import ServerOptions as ServerOptions
    from erprm.engines.settings import VLLMOptions as VLLMOptions
    from erprm.engines.transformers import TransformersEngine as TransformersEngine
    from erprm.engines.vllm import VLLMEngine as VLLMEngine

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
