"""The entropy-regularized process reward of sampled completions, of known success rates, and of beliefs about them.

>>> import torch
>>> from erprm.rewards import entropy_regularized_reward
>>> entropy_regularized_reward(torch.tensor([1.0, 0.0, 1.0, 0.0]), eta=2.0)
tensor(0.7169)
"""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.rewards.beliefs import BetaPrior as BetaPrior
    from erprm.rewards.beliefs import belief_reward as belief_reward
    from erprm.rewards.beliefs import fit_beta_prior as fit_beta_prior
    from erprm.rewards.beliefs import posterior_reward as posterior_reward
    from erprm.rewards.sampled import binary_reward as binary_reward
    from erprm.rewards.sampled import entropy_regularized_reward as entropy_regularized_reward
    from erprm.rewards.sampled import jackknife_reward as jackknife_reward
    from erprm.rewards.sampled import reward_standard_error as reward_standard_error

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
