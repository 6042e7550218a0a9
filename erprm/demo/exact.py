"""The exact value of a step prefix under a policy, by enumerating what the policy may write.

Rollouts estimate the success probability p of a prefix from K samples. Here the tree of continuations is walked
instead, token by token; branches less likely than a threshold are cut off, and their probability bounds the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

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
    cache = DynamicCache(config=policy.config)
    next_BV = _next_token_probabilities(policy, cache, [list(prompt_ids)])
    # Depth first, so that no more than some groups of branches are kept at a time; those of a group are equally long.
    groups: list[_Branches] = [_Branches([[]], [1.0], next_BV, cache)]
    while groups:
        group = groups.pop()
        parents: list[int] = []
        tokens_of: list[list[int]] = []
        probabilities: list[float] = []
        for place, (tokens, probability) in enumerate(zip(group.tokens, group.probabilities, strict=True)):
            joint_V = probability * group.next_BV[place]
            right += float(joint_V[end_id]) * is_right(tokens)
            joint_V[end_id] = 0.0
            kept = torch.nonzero(joint_V >= threshold).flatten().tolist()
            cut_off += float(joint_V.sum() - joint_V[kept].sum())
            parents += [place] * len(kept)
            tokens_of += [[*tokens, token] for token in kept]
            probabilities += joint_V[kept].tolist()
        if tokens_of and len(tokens_of[0]) == max_new_tokens:
            right += sum(p for tokens, p in zip(tokens_of, probabilities, strict=True) if is_right(tokens))
            continue
        for start in range(0, len(parents), _ROWS):
            part = slice(start, start + _ROWS)
            cache = deepcopy(group.cache)
            cache.batch_select_indices(torch.tensor(parents[part]))
            next_BV = _next_token_probabilities(policy, cache, [tokens[-1:] for tokens in tokens_of[part]])
            groups.append(_Branches(tokens_of[part], probabilities[part], next_BV, cache))
    return Bounds(right, min(1.0, right + cut_off))


@dataclass
class _Branches:
    """Beginnings of completions, all of one length, with their probabilities and what may come next."""

    tokens: list[list[int]]
    probabilities: list[float]
    next_BV: Tensor
    cache: Any


def exact_reward(success: Bounds, eta: float) -> Bounds:
    """R_eta of a prefix from bounds of its success probability: ``ln(1 - p + p e^eta) / eta``, which rises with p."""
    low, high = binary_reward(torch.tensor([success.low, success.high], dtype=torch.float64), eta).tolist()
    return Bounds(low, high)


@torch.no_grad()
def _next_token_probabilities(policy: PreTrainedModel, cache: Any, new_tokens: list[list[int]]) -> Tensor:
    """Next-token distribution of each row after its new tokens, which the cache takes in; float64, shape [B, V]."""
    output = policy(torch.tensor(new_tokens), past_key_values=cache, use_cache=True, logits_to_keep=1)
    logits_BV: Tensor = output.logits[:, -1]
    return logits_BV.double().softmax(-1)
