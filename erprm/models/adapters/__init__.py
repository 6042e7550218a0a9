"""Process reward models of other projects, as step scorers (see docs/other-prms.md)."""

from erprm.models.adapters.choice import ADAPTERS, Adapter, AdapterChoice, AdapterError, choose_adapter
from erprm.models.adapters.model import AdaptedRewardModel
from erprm.models.adapters.qwen2_process_reward import Qwen2ForProcessRewardModel

__all__ = [
    "ADAPTERS",
    "AdaptedRewardModel",
    "Adapter",
    "AdapterChoice",
    "AdapterError",
    "Qwen2ForProcessRewardModel",
    "choose_adapter",
]
