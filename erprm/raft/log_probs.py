"""Log-probabilities of solutions under a policy, and the distance from its starting point that follows from them.

Shape suffix: S learned tokens of a batch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from erprm.data.packing import budget_bounds
from erprm.data.policy import PackedSamples, PolicySample
from erprm.models.logits import cross_entropy_at


def solution_log_probs(
    policy: PreTrainedModel, samples: Sequence[PolicySample], temperature: float = 1.0, batch_tokens: int = 4096
) -> list[float]:
    """Natural logarithm of the probability of each completion, given its prompt; see :func:`token_log_probs`."""
    return [each.sum().item() for each in token_log_probs(policy, samples, temperature, batch_tokens)]


@torch.no_grad()
def token_log_probs(
    policy: PreTrainedModel, samples: Sequence[PolicySample], temperature: float = 1.0, batch_tokens: int = 4096
) -> list[Tensor]:
    """Natural logarithm of the probability of each token of each completion, given what is before it, in float64.

    Args:
        policy: a causal language model; it is read packed, with no padding.
        samples: prompts with their completions, as tokens. The probability of what ended a completion counts, too.
        temperature: divides the logits, as in sampling.
        batch_tokens: tokens of a batch; a longer completion gets a batch of its own.
    """
    packed = PackedSamples(list(samples))
    lengths = [len(sample.input_ids) for sample in samples]
    order = np.argsort(-np.array(lengths), kind="stable")
    bounds = budget_bounds(lengths, max([batch_tokens, *lengths]), order)
    log_probs = [torch.empty(0)] * len(samples)
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        members = order[start:stop].tolist()
        batch = packed[members]
        for name in ("input_ids", "position_ids", "subtree_end", "predict_index", "targets"):
            setattr(batch, name, getattr(batch, name).to(policy.device))
        losses_S = cross_entropy_at(policy, batch, batch.predict_index, batch.targets, temperature=temperature)
        log_probs_S = -losses_S.double().cpu()
        counts = [lengths[member] - samples[member].prompt_length for member in members]
        for member, part in zip(members, log_probs_S.split(counts), strict=True):
            log_probs[member] = part
    return log_probs


def mean_of_problems(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The mean over problems of the mean over a problem's solutions, and its standard error.

    For ``log pi - log pi0`` of solutions that were sampled from pi this is the Monte-Carlo estimate of
    ``KL(pi || pi0)``, per solution. Solutions of one problem are not independent, so the standard error is that of a
    mean of problems.

    Args:
        values: those of each problem.

    Returns:
        Mean and standard error; the latter is NaN for one problem.
    """
    means = [statistics.fmean(of_problem) for of_problem in values]
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return statistics.fmean(means), error
