"""Process reward models and policies as LightningModules."""

from typing import TYPE_CHECKING, Literal

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.models.adapters import AdaptedRewardModel as AdaptedRewardModel
    from erprm.models.backbone.lora_settings import LoRA as LoRA
    from erprm.models.distributed.checkpoints import WholeCheckpointIO as WholeCheckpointIO
    from erprm.models.distributed.strategy import FSDP2Strategy as FSDP2Strategy
    from erprm.models.policy import PolicyModel as PolicyModel
    from erprm.models.process_reward import ProcessRewardModel as ProcessRewardModel
    from erprm.models.scorers import HTTPStepScorer as HTTPStepScorer
    from erprm.models.scorers import VLLMStepScorer as VLLMStepScorer
    from erprm.models.scorers.module import ScorerModule as ScorerModule
    from erprm.models.training.nonfinite import NonFiniteError as NonFiniteError
    from erprm.models.training.nonfinite import NonFiniteGradientError as NonFiniteGradientError
    from erprm.models.training.nonfinite import NonFiniteLossError as NonFiniteLossError
    from erprm.models.training.schedule import CosineWithWarmup as CosineWithWarmup
    from erprm.models.two_class import TokenClassificationRewardModel as TokenClassificationRewardModel
    from erprm.scoring import ScorerError as ScorerError
    from erprm.scoring import StepScorer as StepScorer

# Names of options: here, where they load nothing, so that `--help` is fast.
Attention = Literal["auto", "sdpa", "eager", "flex_attention", "flash_attention_2"]
Dtype = Literal["float32", "bfloat16", "float16"]

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
