"""Rollouts: sample solutions from a policy, complete their step prefixes, grade the outcomes, write records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from erprm.rollout.config import RolloutConfig
from erprm.rollout.engine import Completion, Engine, Sampling
from erprm.rollout.engines import VLLMOptions, open_engine
from erprm.rollout.prompts import PromptFormat

if TYPE_CHECKING:
    from erprm.rollout.pipeline import run_rollouts
    from erprm.rollout.transformers_engine import TransformersEngine
    from erprm.rollout.vllm_engine import VLLMEngine

__all__ = [
    "Completion",
    "Engine",
    "PromptFormat",
    "RolloutConfig",
    "Sampling",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMOptions",
    "open_engine",
    "run_rollouts",
]


def __getattr__(name: str) -> Any:
    # The configuration is imported without torch, so that a command line that parses it starts at once.
    if name == "run_rollouts":
        from erprm.rollout.pipeline import run_rollouts

        return run_rollouts
    if name == "TransformersEngine":
        from erprm.rollout.transformers_engine import TransformersEngine

        return TransformersEngine
    if name == "VLLMEngine":
        from erprm.rollout.vllm_engine import VLLMEngine

        return VLLMEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
