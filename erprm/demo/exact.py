"""The exact value of a step prefix under a policy, by enumerating what the policy may write.

Rollouts estimate the success probability p of a prefix from K samples. Here the tree of continuations is walked
instead, token by token; branches less likely than a threshold are cut off, and their probability bounds the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from erprm.rewards import binary_reward

_ROWS = 512


@dataclass(frozen=True)
class Bounds:
    """An interval that holds a value for certain, up to float rounding.

    Attributes:
        low: lower bound.
        high: upper bound.
    """

    low: float
    high: float


def success_probability(
    policy: PreTrainedModel,
    prompt_ids: Sequence[int],
    is_right: Callable[[list[int]], bool],
    *,
    end_id: int,
    max_new_tokens: int,
    threshold: float = 1e-5,
) -> Bounds:
    """The probability that the policy, sampled at temperature 1, completes a prompt rightly.

    Args:
        policy: a causal language model.
        prompt_ids: question and step prefix as tokens.
        is_right: whether a completion is right, from its tokens without the end token.
        end_id: token that ends a completion.
        max_new_tokens: longest completion; one that is cut off there counts as it stands.
        threshold: completions are followed while they are at least this likely.

    Returns:
        Bounds; their distance is the probability of the branches that were cut off.
    """
    right = cut_off = 0.0
    branches: list[tuple[list[int], float]] = [([], 1.0)]
    for _ in range(max_new_tokens):
        if not branches:
            break
        following: list[tuple[list[int], float]] = []
        probabilities_BV = _next_token_probabilities(policy, prompt_ids, [tokens for tokens, _ in branches])
        for (tokens, probability), next_V in zip(branches, probabilities_BV, strict=True):
            joint_V = probability * next_V
            right += float(joint_V[end_id]) * is_right(tokens)
            joint_V[end_id] = 0.0
            kept = torch.nonzero(joint_V >= threshold).flatten().tolist()
            cut_off += float(joint_V.sum() - joint_V[kept].sum())
            following += [([*tokens, token], float(joint_V[token])) for token in kept]
        branches = following
    right += sum(probability for tokens, probability in branches if is_right(tokens))
    return Bounds(right, min(1.0, right + cut_off))


def exact_reward(success: Bounds, eta: float) -> Bounds:
    """R_eta of a prefix from bounds of its success probability: ``ln(1 - p + p e^eta) / eta``, which rises with p."""
    low, high = binary_reward(torch.tensor([success.low, success.high], dtype=torch.float64), eta).tolist()
    return Bounds(low, high)


@torch.no_grad()
def _next_token_probabilities(
    policy: PreTrainedModel, prompt_ids: Sequence[int], continuations: list[list[int]]
) -> Tensor:
    """Next-token distribution after each continuation, all of one length; float64, shape [B, V]."""
    rows = torch.tensor([[*prompt_ids, *tokens] for tokens in continuations])
    logits_BV = torch.cat([policy(part, use_cache=False, logits_to_keep=1).logits[:, -1] for part in rows.split(_ROWS)])
    return logits_BV.double().softmax(-1)
