"""What every callback that scores asks of the trainer it is in."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from erprm.scoring.scorer import StepScorer


def check_scoring_setup(callback: L.Callback, name: str, trainer: L.Trainer, module: L.LightningModule) -> None:
    """Refuses a module that cannot score, and a second callback of the same class and name.

    Args:
        callback: the callback.
        name: the name that opens its logged values; others of its class have an attribute ``name``.
        trainer: the trainer.
        module: its module.

    Raises:
        TypeError: if the module has no ``score_steps``.
        ValueError: if another callback of the class has the same name.
    """
    kind = type(callback)
    if not isinstance(module, StepScorer):
        raise TypeError(
            f"{kind.__name__} needs a module with score_steps(solutions); {type(module).__name__} has none "
            "(see erprm.models.StepScorer)"
        )
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    namesakes = sum(isinstance(each, kind) and getattr(each, "name", None) == name for each in callbacks)
    if namesakes > 1:
        raise ValueError(f"{namesakes} {kind.__name__} callbacks are named {name!r}; give each a name of its own")


def is_due(trainer: L.Trainer, every_n_epochs: int) -> bool:
    """Whether to evaluate after this validation epoch: in ``fit`` at every so many, and never in its sanity check."""
    if trainer.state.fn != TrainerFn.FITTING:
        return True
    return not trainer.sanity_checking and (trainer.current_epoch + 1) % every_n_epochs == 0
