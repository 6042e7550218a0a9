"""Costs of reading for a scorer: tokens, and the arithmetic of its forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from erprm.estimate.flops import token_flops
from erprm.scoring import StepScorer, scorer_or_name
from erprm.search.cascade import Cascade
from erprm.steps import Solution, StepEncoder


@dataclass(frozen=True)
class Reading:
    """Amount that a scorer has read, each solution by itself: what packing shares is counted for each.

    Attributes:
        solutions: whole ones and parts of them.
        tokens: those of questions and tags included; None where the scorer has no tokenizer here.
        flops: floating-point operations of the forward passes; None where the scorer has no weights here.
    """

    solutions: int = 0
    tokens: int | None = 0
    flops: int | None = 0

    def __add__(self, other: Reading) -> Reading:
        return Reading(self.solutions + other.solutions, _sum(self.tokens, other.tokens), _sum(self.flops, other.flops))


def readings(scorer: StepScorer, solutions: Sequence[Solution]) -> list[Reading]:
    """Reading of each of some solutions; known of a scorer with a ``step_encoder`` and a ``backbone``."""
    encoder, backbone = getattr(scorer, "step_encoder", None), getattr(scorer, "backbone", None)
    if not isinstance(encoder, StepEncoder):
        return [Reading(1, None, None)] * len(solutions)
    lengths = [len(encoded.input_ids) for encoded in (encoder.encode_batch(solutions) if solutions else ())]
    if not isinstance(backbone, PreTrainedModel):
        return [Reading(1, length, None) for length in lengths]
    cost = token_flops(backbone, backward=False)
    # Each token reads itself and those before it.
    return [Reading(1, length, cost.total(length, length * (length + 1) // 2)) for length in lengths]


def deciding_scorer(cascade: Cascade) -> StepScorer:
    """The scorer of a cascade, if it can do what the cascade asks of it.

    Raises:
        ValueError: if it is a name, or its operations are limited and cannot be counted.
    """
    scorer = scorer_or_name(cascade.scorer, "cascade.scorer")
    if isinstance(scorer, str):
        raise ValueError(f"cascade.scorer is {scorer!r}, a name; give a scorer that is ready")
    if cascade.flops is not None and not isinstance(getattr(scorer, "backbone", None), PreTrainedModel):
        raise ValueError(
            f"cascade.flops is {cascade.flops:g}, but {type(scorer).__name__} has no backbone here whose "
            "operations could be counted; use cascade.keep alone"
        )
    return scorer


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
