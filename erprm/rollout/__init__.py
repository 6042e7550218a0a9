"""Rollouts: sample solutions from a policy, complete their step prefixes, grade the outcomes, write records."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.engines.base import Completion as Completion
    from erprm.engines.base import Engine as Engine
    from erprm.engines.base import Sampling as Sampling
    from erprm.engines.openai import OpenAIEngine as OpenAIEngine
    from erprm.engines.prompts import PromptFormat as PromptFormat
    from erprm.engines.registry import open_engine as open_engine
    from erprm.engines.settings import ServerOptions as ServerOptions
    from erprm.engines.settings import VLLMOptions as VLLMOptions
    from erprm.engines.transformers import TransformersEngine as TransformersEngine
    from erprm.engines.vllm import VLLMEngine as VLLMEngine
    from erprm.rollout.config import RolloutConfig as RolloutConfig
    from erprm.rollout.running.pipeline import run_rollouts as run_rollouts

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
