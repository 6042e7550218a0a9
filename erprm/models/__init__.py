"""Process reward models and policies as LightningModules."""

from erprm.models.checkpoint_io import WholeCheckpointIO
from erprm.models.finite import NonFiniteError, NonFiniteGradientError, NonFiniteLossError
from erprm.models.policy import PolicyModel
from erprm.models.process_reward import ProcessRewardModel
from erprm.models.schedule import CosineWithWarmup
from erprm.models.scorer import StepScorer

__all__ = [
    "CosineWithWarmup",
    "NonFiniteError",
    "NonFiniteGradientError",
    "NonFiniteLossError",
    "PolicyModel",
    "ProcessRewardModel",
    "StepScorer",
    "WholeCheckpointIO",
]
