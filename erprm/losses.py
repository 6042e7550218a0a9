"""The losses of the autoregressive process reward model, per step.

=============  =====================================================================================================
two_way        cross-entropy of the two-way softmax over the label tokens against (R, 1 - R): the paper's
               (arXiv 2412.11006, section 3)
vocabulary     cross-entropy of the softmax over the whole vocabulary against the same; it also learns that nothing but
               a label follows a tag
mse            squared error of P(good), from the two-way softmax, against R
beta_binomial  ``two_way``, and besides how sure a score is: see :func:`beta_binomial_losses`
=============  =====================================================================================================

All are computed in float32, or in float64 where logits are. Shape suffixes: S scored steps, V vocabulary, 2 the good
and the bad label.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from erprm.rewards.beliefs import log_beta
from erprm.tensors import Numbers, as_tensor

__all__ = ["LOSSES", "Loss", "beta_binomial_losses", "step_beliefs", "step_losses", "vocabulary_losses"]

Loss = Literal["two_way", "vocabulary", "mse", "beta_binomial"]
LOSSES = get_args(Loss)
_LIKELIHOOD_WEIGHT = 0.1
# Of a parameter of a Beta distribution: where a logit is extreme, its logarithm stays finite.
_LEAST_PARAMETER = 1e-6


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
    logits_S2 = _checked_logits(logits_S2, "logits_S2", 2)
    labels_S = _of_steps(labels_S, "labels_S", logits_S2)
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
    logits_SV = _checked_logits(logits_SV, "logits_SV")
    labels_S = _of_steps(labels_S, "labels_S", logits_SV)
    good_S, bad_S = logits_SV[:, label_tokens[0]], logits_SV[:, label_tokens[1]]
    return logits_SV.logsumexp(-1) - labels_S * good_S - (1 - labels_S) * bad_S


def step_beliefs(logits_S2: Numbers) -> tuple[Tensor, Tensor]:
    """The Beta distributions of success rates that the two logits of each step stand for.

    The mean is P(good) of the two-way softmax, the concentration ``softplus((z_good + z_bad) / 2)``: the larger, the
    surer. The softmax does not see the sum of the logits, so the concentration means something only after training with
    ``beta_binomial``. Gradients reach the concentration alone.

    Args:
        logits_S2: logits of the good and the bad label at each step's tag ``[S, 2]``.

    Returns:
        alpha and beta of each step ``[S]``, at least 1e-6: the mean is ``alpha / (alpha + beta)``, the concentration
        ``alpha + beta``.

    Raises:
        ValueError: for a wrong shape.

    Example:
        >>> alpha, beta = step_beliefs([[2.0, 2.0]])  # ln(1 + e^2) = 2.127, half of it each
        >>> round(float(alpha), 3), round(float(beta), 3)
        (1.063, 1.063)
    """
    logits_S2 = _checked_logits(logits_S2, "logits_S2", 2)
    concentration_S = F.softplus(logits_S2.mean(-1))
    mean_S2 = logits_S2.detach().softmax(-1)
    alpha_S, beta_S = (mean_S2 * concentration_S[:, None]).clamp(min=_LEAST_PARAMETER).unbind(-1)
    return alpha_S, beta_S


def beta_binomial_losses(logits_S2: Numbers, labels_S: Numbers, successes_S: Numbers, trials_S: Numbers) -> Tensor:
    """The loss ``beta_binomial``: ``two_way`` of the labels, and 0.1 times the surprise at the counts.

    The surprise is the negative log-likelihood of the right completions among all of a step, of which each has the
    same unknown success rate: a beta-binomial distribution under :func:`step_beliefs`. It moves the concentration
    alone, so the gradient in the difference of the logits is that of ``two_way``. A step with one completion says
    nothing of the concentration.

    Args:
        logits_S2: logits of the good and the bad label at each step's tag ``[S, 2]``.
        labels_S: step rewards R in [0, 1] ``[S]``.
        successes_S: right completions of each step, whole numbers ``[S]``.
        trials_S: completions of each step ``[S]``.

    Returns:
        The loss of each step ``[S]``.

    Raises:
        ValueError: for a wrong shape.
    """
    cross_entropies_S = step_losses(logits_S2, labels_S)
    alpha_S, beta_S = step_beliefs(logits_S2)
    successes_S = _of_steps(successes_S, "successes_S", alpha_S)
    failures_S = _of_steps(trials_S, "trials_S", alpha_S) - successes_S
    log_choices_S = -(successes_S + failures_S + 1).log() - log_beta(successes_S + 1, failures_S + 1)
    log_likelihood_S = log_beta(alpha_S + successes_S, beta_S + failures_S) - log_beta(alpha_S, beta_S) + log_choices_S
    return cross_entropies_S - _LIKELIHOOD_WEIGHT * log_likelihood_S


def _checked_logits(logits: Numbers, name: str, labels: int | None = None) -> Tensor:
    """Logits as a tensor of the type that the loss is computed in."""
    logits = as_tensor(logits, name)
    if logits.ndim != 2:
        raise ValueError(f"{name} must have shape [steps, labels], found {list(logits.shape)}")
    if labels is not None and logits.shape[1] != labels:
        raise ValueError(f"{name} must have shape [steps, {labels}], found {list(logits.shape)}")
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _of_steps(values_S: Numbers, name: str, like: Tensor) -> Tensor:
    """One value a step, of the type and on the device of what has been computed from logits."""
    values_S = as_tensor(values_S, name)
    if values_S.shape != like.shape[:1]:
        raise ValueError(f"{name} must have shape {list(like.shape[:1])}, found {list(values_S.shape)}")
    return values_S.to(like)
