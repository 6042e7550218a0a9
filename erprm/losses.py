"""The losses of the autoregressive process reward model, per step.

===========  =======================================================================================================
two_way      cross-entropy of the two-way softmax over the label tokens against (R, 1 - R): the paper's
             (arXiv 2412.11006, section 3)
vocabulary   cross-entropy of the softmax over the whole vocabulary against the same; it also learns that nothing but a
             label follows a tag
mse          squared error of P(good), from the two-way softmax, against R
===========  =======================================================================================================

All are computed in float32, or in float64 where logits are. Shape suffixes: S scored steps, V vocabulary, 2 the good
and the bad label.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from erprm.tensors import Numbers, as_tensor

Loss = Literal["two_way", "vocabulary", "mse"]
LOSSES = get_args(Loss)


def step_losses(logits_S2: Numbers, labels_S: Numbers, loss: Literal["two_way", "mse"] = "two_way") -> Tensor:
    """The losses that need the logits of the label tokens alone.

    Args:
        logits_S2: logits of the good and the bad label at each step's tag ``[S, 2]``.
        labels_S: step rewards R in [0, 1] ``[S]``.
        loss: see the module's table.

    Returns:
        The loss of each step ``[S]``.

    Raises:
        ValueError: for a wrong shape.
    """
    logits_S2, labels_S = _checked(logits_S2, labels_S, "logits_S2")
    if logits_S2.shape[1] != 2:
        raise ValueError(f"logits_S2 must have shape [steps, 2], found {list(logits_S2.shape)}")
    difference_S = logits_S2[:, 0] - logits_S2[:, 1]
    if loss == "mse":
        return (difference_S.sigmoid() - labels_S).square()
    return F.binary_cross_entropy_with_logits(difference_S, labels_S, reduction="none")


def vocabulary_losses(logits_SV: Numbers, labels_S: Numbers, label_tokens: tuple[int, int]) -> Tensor:
    """The loss ``vocabulary``.

    Args:
        logits_SV: logits of the whole vocabulary at each step's tag ``[S, V]``.
        labels_S: step rewards R in [0, 1] ``[S]``.
        label_tokens: the good and the bad label token.

    Returns:
        The loss of each step ``[S]``.

    Raises:
        ValueError: for a wrong shape.
    """
    logits_SV, labels_S = _checked(logits_SV, labels_S, "logits_SV")
    good_S, bad_S = logits_SV[:, label_tokens[0]], logits_SV[:, label_tokens[1]]
    return logits_SV.logsumexp(-1) - labels_S * good_S - (1 - labels_S) * bad_S


def _checked(logits: Numbers, labels_S: Numbers, name: str) -> tuple[Tensor, Tensor]:
    """Both as tensors of the type that the loss is computed in."""
    logits, labels_S = as_tensor(logits, name), as_tensor(labels_S, "labels_S")
    if logits.ndim != 2:
        raise ValueError(f"{name} must have shape [steps, labels], found {list(logits.shape)}")
    if labels_S.shape != logits.shape[:1]:
        raise ValueError(f"labels_S must have shape {list(logits.shape[:1])}, found {list(labels_S.shape)}")
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), labels_S.to(logits.device, dtype)
