"""Process reward models of other projects, as step scorers (see docs/other-prms.md)."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.models.adapters.adapter import Adapter as Adapter
    from erprm.models.adapters.adapter import LabelTokenAdapter as LabelTokenAdapter
    from erprm.models.adapters.adapter import Qwen2ProcessRewardAdapter as Qwen2ProcessRewardAdapter
    from erprm.models.adapters.adapter import TwoClassAdapter as TwoClassAdapter
    from erprm.models.adapters.choice import AdapterChoice as AdapterChoice
    from erprm.models.adapters.choice import AdapterError as AdapterError
    from erprm.models.adapters.choice import choose_adapter as choose_adapter
    from erprm.models.adapters.model import AdaptedRewardModel as AdaptedRewardModel
    from erprm.models.adapters.qwen2_process_reward import Qwen2ForProcessRewardModel as Qwen2ForProcessRewardModel
    from erprm.models.adapters.registry import ADAPTERS as ADAPTERS

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
