"""Process reward models and policies as LightningModules."""

from erprm.models.losses import NonFiniteLossError
from erprm.models.policy import PolicyModel
from erprm.models.process_reward import ProcessRewardModel
from erprm.models.schedule import CosineWithWarmup
from erprm.models.scorer import StepScorer

__all__ = ["CosineWithWarmup", "NonFiniteLossError", "PolicyModel", "ProcessRewardModel", "StepScorer"]
