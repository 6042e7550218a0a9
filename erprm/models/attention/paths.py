"""Attention over packed rows in which each token is compared with the tokens of its own path alone.

A *run* is a longest stretch of a row in which each token follows its parent: a whole solution where nothing is shared,
else what a solution adds to those before it. Positions are depths in depth-first order, so they alone say where runs
begin and which earlier tokens lead to each. Runs of about the same size are computed together, as a batch of queries
(the run) and keys (its path). A kernel with a mask would compute all pairs of a row on a CPU.

Shape suffixes: R rows, T tokens of a row, N all of them, H heads (K of keys), D width of a head; B runs computed
together, Q tokens of a run, P of a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PATHS = "erprm_paths"


@dataclass(frozen=True)
class Runs:
    """Runs that are computed together.

    Attributes:
        tokens: places of their tokens in the flattened rows ``[B, Q]``, filled up with 0.
        paths: places of all tokens that lead to the last one, which is among them ``[B, P]``, filled up with 0.
        sees: which tokens of its path a token sees ``[B, 1, Q, P]``; ``None`` where runs are whole paths.
    """

    tokens: Tensor
    paths: Tensor
    sees: Tensor | None


@dataclass(frozen=True)
class Plan:
    """Division of rows into runs.

    Attributes:
        runs: those computed together.
        outputs: where the output of each token of the flattened rows stands among all outputs ``[N]``.
    """

    runs: list[Runs]
    outputs: Tensor


def plan_runs(position_ids_RT: Tensor) -> Plan:
    """Cuts rows into runs.

    Args:
        position_ids_RT: positions of rows in depth-first order (see :mod:`erprm.data.packing`).
    """
    depths, width = position_ids_RT.flatten().numpy(), position_ids_RT.shape[1]
    is_border = np.diff(depths, prepend=-1) != 1
    is_border[::width] = True
    starts = np.flatnonzero(is_border)
    path = np.zeros(width, dtype=np.int64)
    alike: dict[tuple[bool, int, int], list[tuple[range, np.ndarray]]] = {}
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(depths)], strict=True):
        depth, length = int(depths[start]), int(depths[start]) + stop - start
        path[depth:length] = range(start, stop)
        size = (depth > 0, (stop - start - 1).bit_length(), (length - 1).bit_length())
        alike.setdefault(size, []).append((range(start, stop), path[:length].copy()))
    outputs, done, groups = np.zeros(len(depths), dtype=np.int64), 0, []
    for (continues, _, _), members in alike.items():
        tokens = np.zeros((len(members), max(len(run) for run, _ in members)), dtype=np.int64)
        paths = np.zeros((len(members), max(len(path) for _, path in members)), dtype=np.int64)
        for i, (run, path) in enumerate(members):
            tokens[i, : len(run)] = run
            paths[i, : len(path)] = path
            outputs[run.start : run.stop] = done + i * tokens.shape[1] + np.arange(len(run))
        done += tokens.size
        sees = None
        if continues:
            earlier_B = np.array([len(path) - len(run) for run, path in members])
            token_Q, place_P = np.arange(tokens.shape[1]), np.arange(paths.shape[1])
            sees = torch.from_numpy(place_P <= token_Q[:, None] + earlier_B[:, None, None])[:, None]
        groups.append(Runs(torch.from_numpy(tokens), torch.from_numpy(paths), sees))
    return Plan(groups, torch.from_numpy(outputs))


# All layers read the same positions.
_plans: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def path_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers (5.16 and later) whose mask is the rows' positions.

    With another mask, or none, it is transformers' ``sdpa``: a backbone that has read packed rows stays good for the
    rest.

    Args:
        module: the attention layer.
        query: ``[R, H, T, D]``.
        key: ``[R, K, T, D]``.
        value: ``[R, K, T, D]``.
        attention_mask: positions ``[R, 1, 1, T]``, int64; or a mask of ``sdpa``.
        dropout: share of the weights that is dropped.
        scaling: of the scores; by default one over the root of D.
        **options: for ``sdpa``.

    Returns:
        ``[R, T, H, D]``, and no weights.
    """
    if attention_mask is None or attention_mask.dtype != torch.int64:
        given = {"dropout": dropout, "scaling": scaling, **options}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **given)
    rows, heads, width, _ = query.shape
    if attention_mask not in _plans:
        _plans[attention_mask] = plan_runs(attention_mask[:, 0, 0])
    plan: Plan = _plans[attention_mask]
    query_NHD, key_NKD, value_NKD = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    outputs = []
    for runs in plan.runs:
        output_BHQD = F.scaled_dot_product_attention(
            _take(query_NHD, runs.tokens),
            _take(key_NKD, runs.paths),
            _take(value_NKD, runs.paths),
            attn_mask=runs.sees,
            dropout_p=dropout,
            is_causal=runs.sees is None,
            scale=scaling,
            enable_gqa=heads != key.shape[1],
        )
        outputs.append(output_BHQD.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).index_select(0, plan.outputs).unflatten(0, (rows, width)), None


def _take(tensor_NHD: Tensor, places_BQ: Tensor) -> Tensor:
    """``[B, H, Q, D]``."""
    taken_BQHD: Tensor = tensor_NHD.index_select(0, places_BQ.flatten()).unflatten(0, places_BQ.shape)
    return taken_BQHD.transpose(1, 2)


# A plan has sizes of its own for every batch, which would be compiled anew each time.
AttentionInterface.register(PATHS, torch.compiler.disable(path_attention))
AttentionMaskInterface.register(PATHS, sdpa_mask)
