"""Embeddings as wide as the tokenizer, where the step format has added tokens to it.

Shape suffixes: N rows that are new, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

ROWS_AT_ONCE = 4096
"""Old rows that are looked at together when new ones are made."""

# Standard deviation of the new rows around the mean of the old ones, in standard deviations of the old ones.
_SPREAD = 0.01


def fit_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Grows the embedding to the tokenizer's size; a larger one (padded for speed) is left as it is.

    Only tokens that were added to a tokenizer make an embedding grow. Weights that are not there yet (on the meta
    device) grow anyway; the code that loads them takes the missing rows from :func:`new_rows`.

    Raises:
        ValueError: if even the vocabulary without added tokens is larger than the embedding: the two do not belong
            together.
    """
    rows = _input_weight(model).shape[0]
    if tokenizer.vocab_size > rows:
        raise ValueError(
            f"the tokenizer {tokenizer.name_or_path!r} has a vocabulary of {tokenizer.vocab_size} tokens, but the "
            f"embedding of the backbone {model.name_or_path!r} has {rows} rows: they do not belong together; give the "
            "tokenizer that the backbone was trained with"
        )
    if len(tokenizer) <= rows:
        return
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for weight in embedding_weights(model):
        if not weight.is_meta:
            with torch.no_grad():
                weight[rows:] = new_rows(weight[:rows].split(ROWS_AT_ONCE), len(tokenizer) - rows)


def embedding_weights(model: PreTrainedModel) -> list[Tensor]:
    """The weights with a row for each token: of the input and, unless it shares them, of the output layer."""
    output = model.get_output_embeddings()
    weights = [_input_weight(model), *([] if output is None else [cast(Tensor, output.weight)])]
    return list(dict.fromkeys(weights))


def _input_weight(model: PreTrainedModel) -> Tensor:
    return cast(Tensor, model.get_input_embeddings().weight)


def new_rows(old: Iterable[Tensor], count: int) -> Tensor:
    """Rows for added tokens: the mean of the old rows, and a little noise that tells them apart.

    The same old rows give the same new ones, whatever process asks.

    Args:
        old: the old rows, some ``[*, D]`` at a time.
        count: how many new ones.

    Returns:
        ``[N, D]``, in float32.
    """
    number, total_D, squares_D = 0, torch.zeros(()), torch.zeros(())
    for part in old:
        rows = part.double()
        number, total_D, squares_D = number + len(rows), total_D + rows.sum(0), squares_D + rows.square().sum(0)
    mean_D = total_D / number
    deviation_D = (squares_D / number - mean_D.square()).clamp(min=0.0).sqrt()
    noise_ND = torch.randn(count, len(mean_D), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (mean_D + _SPREAD * deviation_D * noise_ND.to(mean_D.device)).float()
