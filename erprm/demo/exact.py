"""The value of a step prefix under a policy, by enumeration of its continuations instead of sampling.

Continuations are followed token by token, all of one length side by side. One whose probability falls below a
threshold is given up; the mass given up is counted, so what comes out is not an estimate but two bounds:

    mass of successes found  <=  p  <=  mass of successes found + mass given up

A rollout of the same prefix is a binomial sample with this p, and the entropy-regularized reward is an increasing
function of p, so bounds on p are bounds on the reward.

Shape suffixes: A continuations still growing, V vocabulary, C pairs of a continuation and a token that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from erprm.rewards import binary_reward

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Bounds:
    """An interval that holds a value for certain, up to rounding.

    Attributes:
        lower: the value is at least this.
        upper: the value is at most this.
    """

    lower: float
    upper: float

    @property
    def width(self) -> float:
        """How far the bounds are apart."""
        return self.upper - self.lower


def success_probability(
    policy: PreTrainedModel,
    prompt_ids: Sequence[int],
    is_success: Callable[[list[int]], bool],
    end_ids: Collection[int],
    max_tokens: int,
    min_probability: float = 1e-4,
) -> Bounds:
    """Bounds the probability that a completion sampled at temperature 1 succeeds.

    Args:
        policy: a causal language model, in evaluation mode.
        prompt_ids: tokens of the prompt; for a step prefix, of the question and the steps so far.
        is_success: says of a completion's tokens, without the one that ended it, whether it succeeds.
        end_ids: tokens that end a completion.
        max_tokens: the most tokens of a completion; one cut off there is judged as it stands, as in a rollout.
        min_probability: a continuation less likely than this is given up; 0 follows every one. There are never more
            than ``1 / min_probability`` at a time.

    Returns:
        Bounds on the probability, in [0, 1].

    Raises:
        ValueError: if the prompt is empty, ``max_tokens`` is below 1, or ``min_probability`` is not in [0, 1].
    """
    if not prompt_ids:
        raise ValueError("prompt_ids is empty; a causal language model needs at least one token")
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; it must be at least 1")
    if not 0.0 <= min_probability <= 1.0:
        raise ValueError(f"min_probability is {min_probability}; it must be in [0, 1]")

    succeeded = given_up = 0.0
    growing: list[list[int]] = [[]]
    probability_A = torch.ones(1, dtype=torch.float64)
    model = _CachedPolicy(policy, prompt_ids)
    for length in range(1, max_tokens + 1):
        probability_AV = probability_A[:, None] * model.next_token_probabilities
        kept_AV = probability_AV >= max(min_probability, _SMALLEST)
        given_up += probability_AV[~kept_AV].sum().item()
        parent_C, token_C = kept_AV.nonzero(as_tuple=True)
        places_that_grow, grown = [], []
        for place, (parent, token) in enumerate(zip(parent_C.tolist(), token_C.tolist(), strict=True)):
            ended = token in end_ids
            tokens = growing[parent] if ended else [*growing[parent], token]
            if not ended and length < max_tokens:
                places_that_grow.append(place)
                grown.append(tokens)
            elif is_success(tokens):
                succeeded += probability_AV[parent, token].item()
        if not grown:
            break
        growing = grown
        probability_A = probability_AV[kept_AV][places_that_grow]
        model.step(parent_C[places_that_grow], token_C[places_that_grow])
    # Sums of rounded numbers may pass 1 by a few 1e-16.
    return Bounds(min(1.0, succeeded), min(1.0, succeeded + given_up))


def entropy_regularized_value(success: Bounds, eta: float) -> Bounds:
    """Bounds on the entropy-regularized reward of a prefix, from those on its probability of success.

    Args:
        success: as :func:`success_probability` gives it.
        eta: as in :func:`erprm.rewards.entropy_regularized_reward`.
    """
    p = torch.tensor([success.lower, success.upper], dtype=torch.float64)
    lower, upper = binary_reward(p, eta).tolist()
    return Bounds(lower, upper)


# Below this a probability is nothing but rounding: no continuation is followed because of it.
_SMALLEST = 1e-300


class _CachedPolicy:
    """The policy with its attention cache, one row a continuation.

    Attributes:
        next_token_probabilities: ``[A, V]``, float64, each row summing to 1.
    """

    def __init__(self, policy: PreTrainedModel, prompt_ids: Sequence[int]) -> None:
        from transformers import DynamicCache

        self._policy: Any = policy
        self._cache = DynamicCache(config=policy.config)
        self.next_token_probabilities = self._forward(torch.tensor([list(prompt_ids)]))

    def step(self, parent_A: Tensor, token_A: Tensor) -> None:
        """Goes on from some rows, each with one more token; a row may be gone on from several times."""
        self._cache.batch_select_indices(parent_A.to(self._policy.device))
        self.next_token_probabilities = self._forward(token_A[:, None])

    @torch.inference_mode()
    def _forward(self, ids: Tensor) -> Tensor:
        output = self._policy(
            input_ids=ids.to(self._policy.device), past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        return torch.softmax(output.logits[:, -1].double().cpu(), dim=-1)
