"""Process reward models and policies as LightningModules."""

from erprm.models.adapters import AdaptedRewardModel
from erprm.models.checkpoint_io import WholeCheckpointIO
from erprm.models.finite import NonFiniteError, NonFiniteGradientError, NonFiniteLossError
from erprm.models.lora import LoRA
from erprm.models.policy import PolicyModel
from erprm.models.process_reward import ProcessRewardModel
from erprm.models.schedule import CosineWithWarmup
from erprm.models.scorer import ScorerError, ScorerModule, StepScorer
from erprm.models.served import HTTPStepScorer, VLLMStepScorer
from erprm.models.strategy import FSDP2Strategy
from erprm.models.two_class_head import TokenClassificationRewardModel

__all__ = [
    "AdaptedRewardModel",
    "CosineWithWarmup",
    "FSDP2Strategy",
    "HTTPStepScorer",
    "LoRA",
    "NonFiniteError",
    "NonFiniteGradientError",
    "NonFiniteLossError",
    "PolicyModel",
    "ProcessRewardModel",
    "ScorerError",
    "ScorerModule",
    "StepScorer",
    "TokenClassificationRewardModel",
    "VLLMStepScorer",
    "WholeCheckpointIO",
]
