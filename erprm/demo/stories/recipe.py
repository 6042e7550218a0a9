"""The sizes of the stories' demo, which docs/stories.md explains."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.demo.world import Recipe


@dataclass(frozen=True)
class StoriesRecipe(Recipe):
    """Everything the results depend on, apart from seed and backbone.

    Attributes:
        policy_epochs: epochs over the policy's samples.
        held_out_problems: problems of the pool of held-out templates.
    """

    systematic_share: float = 0.15
    systematic_rate: float = 0.65
    slip_rate: float = 0.03
    policy_samples: int = 3000
    policy_learning_rate: float = 1e-4
    train_problems: int = 800
    completions_per_step: int = 4
    prm_epochs: int = 2
    prm_learning_rate: float = 5e-5
    eta: float = 2.0
    test_problems: int = 80
    candidates: int = 64
    policy_epochs: int = 1
    held_out_problems: int = 40


FULL = StoriesRecipe()
QUICK = StoriesRecipe(
    policy_samples=16,
    train_problems=6,
    completions_per_step=2,
    prm_epochs=1,
    test_problems=3,
    held_out_problems=2,
    candidates=4,
)
