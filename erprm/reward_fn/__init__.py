"""A process reward model as the reward of other projects' trainers (see docs/rl.md)."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.reward_fn.credit import CreditForm as CreditForm
    from erprm.reward_fn.credit import step_credit as step_credit
    from erprm.reward_fn.credit import step_returns as step_returns
    from erprm.reward_fn.process_reward import ProcessReward as ProcessReward
    from erprm.reward_fn.process_reward import StepRewards as StepRewards

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
