"""The sizes of the dial's demo: amounts of training data and lengths of training."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.demo.world import Recipe


@dataclass(frozen=True)
class DialRecipe(Recipe):
    """Everything the demo's results depend on, apart from the seed.

    Attributes:
        layers: decoder layers of every model.
        width: hidden size.
        base_steps: optimizer steps of the base model's pretraining.
        base_drill_steps: how many of them, at the start, are single facts alone.
        base_learning_rate: its peak learning rate.
    """

    systematic_share: float = 0.2
    systematic_rate: float = 0.65
    slip_rate: float = 0.04
    policy_samples: int = 6400
    policy_learning_rate: float = 1e-3
    train_problems: int = 2500
    completions_per_step: int = 8
    prm_epochs: int = 4
    prm_learning_rate: float = 5e-4
    eta: float = 2.0
    test_problems: int = 300
    candidates: int = 64
    layers: int = 5
    width: int = 96
    base_steps: int = 1400
    base_drill_steps: int = 250
    base_learning_rate: float = 2e-3


FULL = DialRecipe()
QUICK = DialRecipe(
    layers=2,
    width=48,
    base_steps=40,
    base_drill_steps=10,
    policy_samples=640,
    train_problems=24,
    completions_per_step=2,
    prm_epochs=1,
    test_problems=12,
    candidates=8,
)
