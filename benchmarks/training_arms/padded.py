"""Losses of the padded ways of training, on any device: that of the official ER-PRM script, and that of TRL's trainer.

Both are written afresh. Needs torch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK, IGNORED = 512, -100


def padded_rows(token_ids: Sequence[Sequence[int]], width: int, pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, a solution a row."""
    input_ids = torch.full((len(token_ids), width), pad)
    mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = torch.as_tensor(ids)
        mask[row, : len(ids)] = 1
    return input_ids.to(device), mask.to(device)


def official_loss(
    model: Any,
    token_ids: Sequence[Sequence[int]],
    tags: Sequence[Sequence[int]],
    labels: Sequence[Sequence[float]],
    good: int,
    bad: int,
    pad: int,
) -> Tensor:
    """The loss of hanningzhang/ER-PRM, ``prm/kl_math_reward_ce.py``.

    Rows are padded to 512 tokens. Logits of the whole vocabulary are made at every place in float32, copied when they
    are shifted against the labels, and the two label logits picked out of them.

    Args:
        model: a causal LM.
        token_ids: tokens of each solution, at most 512.
        tags: places of its step tags.
        labels: label of each.
        good: token of the good label.
        bad: token of the bad label.
        pad: token of the padding.
    """
    input_ids, mask = padded_rows(token_ids, BLOCK, pad, model.device)
    targets = torch.full_like(input_ids, IGNORED)
    values = torch.zeros(input_ids.shape, device=input_ids.device)
    for row, (places_of, of_row) in enumerate(zip(tags, labels, strict=True)):
        places = torch.as_tensor(places_of, device=input_ids.device) + 1
        places = places[places < BLOCK]
        targets[row, places] = good
        values[row, places] = torch.as_tensor(of_row, device=input_ids.device)[: len(places)]
    logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits.float()
    logits, targets, values = logits[:, :-1].contiguous(), targets[:, 1:], values[:, 1:]
    scored = targets != IGNORED
    pair = torch.stack([logits[:, :, good][scored], logits[:, :, bad][scored]], dim=1)
    return F.cross_entropy(pair, torch.stack([values[scored], 1 - values[scored]], dim=1))


def trl_loss(
    model: Any,
    token_ids: Sequence[Sequence[int]],
    tags: Sequence[Sequence[int]],
    labels: Sequence[Sequence[float]],
    pad: int,
) -> Tensor:
    """The loss of TRL 1.13.0's ``PRMTrainer``: rows padded to the longest, two classes, labels rounded to 0 or 1.

    Args:
        model: a token classifier with two classes.
        token_ids: tokens of each solution.
        tags: places of its step tags.
        labels: label of each.
        pad: token of the padding.
    """
    input_ids, mask = padded_rows(token_ids, max(map(len, token_ids)), pad, model.device)
    targets = torch.full_like(input_ids, IGNORED)
    for row, (places, of_row) in enumerate(zip(tags, labels, strict=True)):
        targets[row, torch.as_tensor(places)] = (torch.as_tensor(of_row) >= 0.5).long().to(input_ids.device)
    loss: Tensor = model(input_ids=input_ids, attention_mask=mask, labels=targets, use_cache=False).loss
    return loss
