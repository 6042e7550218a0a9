"""The loss that a backbone was trained with to judge steps: what ``config.json`` and checkpoints say of it.

Only ``beta_binomial`` teaches a model how sure it is, which ``score_eta`` asks.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from erprm.errors import InputError

LOSS_KEY = "step_loss"
"""Its name in ``config.json`` and in checkpoints."""


def trained_loss(backbone: PreTrainedModel | None) -> str | None:
    """The loss that a backbone was trained with, if it or a checkpoint says so."""
    return None if backbone is None else getattr(backbone.config, LOSS_KEY, None)


def note_loss(backbone: PreTrainedModel, loss: str | None) -> None:
    """Notes the loss in the configuration, with which it is saved."""
    vars(backbone.config).pop(LOSS_KEY, None)
    if loss is not None:
        setattr(backbone.config, LOSS_KEY, loss)


def refuse_untrained_belief(score_eta: float, loss: str | None, path: str) -> None:
    """Refuses a ``score_eta`` other than 0 for weights of another loss.

    Raises:
        InputError: naming the model, and its loss if that is known.
    """
    if score_eta != 0.0 and loss != "beta_binomial":
        trained = "nothing says with which loss" if loss is None else f"it is with loss {loss!r} that"
        raise InputError(
            f"score_eta is {score_eta:g}, but {trained} {path!r} was trained: only a model trained with "
            "model.loss=beta_binomial says how sure it is; leave score_eta at 0 for any other"
        )
