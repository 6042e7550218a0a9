"""Rollouts: sample solutions from a policy, complete their step prefixes, grade the outcomes, write records."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from erprm.rollout.config import RolloutConfig
from erprm.rollout.engine import Completion, Engine, Sampling
from erprm.rollout.engines import ServerOptions, VLLMOptions, open_engine
from erprm.rollout.prompts import PromptFormat

if TYPE_CHECKING:
    from erprm.rollout.openai_engine import OpenAIEngine
    from erprm.rollout.pipeline import run_rollouts
    from erprm.rollout.transformers_engine import TransformersEngine
    from erprm.rollout.vllm_engine import VLLMEngine

__all__ = [
    "Completion",
    "Engine",
    "OpenAIEngine",
    "PromptFormat",
    "RolloutConfig",
    "Sampling",
    "ServerOptions",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMOptions",
    "open_engine",
    "run_rollouts",
]


# What loads torch or a server's client, by module: the configuration is imported without them, so that a command line
# that parses it starts at once.
_MODULE_OF = {
    "OpenAIEngine": "openai_engine",
    "TransformersEngine": "transformers_engine",
    "VLLMEngine": "vllm_engine",
    "run_rollouts": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"erprm.rollout.{_MODULE_OF[name]}"), name)
