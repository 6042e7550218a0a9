"""A process reward model as the reward of other projects' trainers (see docs/rl.md)."""

from erprm.reward_fn.credit import CreditForm, step_credit
from erprm.reward_fn.process_reward import ProcessReward, StepRewards

__all__ = ["CreditForm", "ProcessReward", "StepRewards", "step_credit"]
