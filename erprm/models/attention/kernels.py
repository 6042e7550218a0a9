"""Attention over packed rows, in which every token sees its own path through the row and nothing else.

==================  ==============================================  ==========================================
kernel              keeps apart                                     by
==================  ==============================================  ==========================================
sdpa, eager         trees, rows                                     a mask of all pairs of a row's tokens
flex_attention      trees, rows (CUDA; unverified)                  a block mask, whose empty blocks are skipped
flash_attention_2   rows (CUDA; unverified)                         sequence lengths, read off the positions
any                 one solution a row                              its causality: padding stands at the end
==================  ==============================================  ==========================================

``auto`` tries, on CUDA, ``flex_attention``, and for rows ``flash_attention_2`` where it is installed, and takes the
fastest that is right (:mod:`erprm.models.attention.choice`); on a CPU ``sdpa`` once for each run of tokens, which
computes no pair of tokens of different solutions, where the backbone has ``sdpa``, layers that are not compiled, and no
sliding window narrower than a row. Everywhere else, and for one solution a row, it takes what the backbone was built
with, which is ``sdpa`` where it has that.

A *run* is a longest stretch of a row in which each token follows its parent: a whole solution where nothing is shared,
else what a solution adds to those before it. Positions are depths in depth-first order, so they alone say where runs
begin and which earlier tokens lead to each. Runs of about the same size are computed together, as a batch of queries
(the run) and keys (its path). A kernel with a mask would compute all pairs of a row on a CPU.

Shape suffixes: R rows, T tokens of a row, N all of them. In a mask Q is a token as query, K as key. In runs: H heads
(K of keys), D width of a head; B runs computed together, Q tokens of a run, P of a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils.import_utils import is_flash_attn_2_available

from erprm.data.packing import Layout, PackedRows
from erprm.models import Attention as Attention
from erprm.models.attention.choice import fastest_kernel
from erprm.models.attention.masks import AttentionError, backbone_masks

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
    """Cuts rows into runs by their positions, which are in depth-first order (see :mod:`erprm.data.packing`)."""
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


ATTENTIONS = get_args(Attention)


def possible_kernels(attention: Attention, layout: Layout, device: torch.device, present: str) -> list[str]:
    """The attention kernels for rows of one layout, by their names in transformers, the one that is always right last.

    ``present`` is the kernel that the backbone was built with, or used last.

    Raises:
        AttentionError: if the kernel asked for cannot keep such rows apart.
    """
    if attention == "auto":
        present = "sdpa" if present in ("flex_attention", "flash_attention_2", PATHS) else present
        if device.type == "cuda" and layout != "single":
            flash = ["flash_attention_2"] if layout == "rows" and is_flash_attn_2_available() else []
            return [*flash, "flex_attention", present]
        return [PATHS if present == "sdpa" and device.type == "cpu" and layout != "single" else present]
    if attention == "flash_attention_2" and layout == "trees":
        raise AttentionError(
            "model.attn_implementation is 'flash_attention_2', which cannot keep apart solutions that share tokens: "
            "set data.packing and model.score_packing to rows, or attn_implementation to auto"
        )
    return [attention]


def row_inputs(backbone: PreTrainedModel, rows: PackedRows, attention: Attention = "auto") -> dict[str, Any]:
    """The arguments of a backbone's forward for packed rows; makes the backbone use the kernel they are meant for.

    Raises:
        AttentionError: if backbone or kernel cannot keep the rows apart.
    """
    config = backbone.config.get_text_config()
    kernels = possible_kernels(attention, rows.layout, rows.input_ids.device, config._attn_implementation)
    kernel = fastest_kernel(kernels, backbone, rows)
    if kernel == PATHS and not _can_follow_paths(backbone, rows):
        kernel = "sdpa"
    if config._attn_implementation != kernel:
        backbone.set_attn_implementation(kernel)
    inputs: dict[str, Any] = {"input_ids": rows.input_ids, "use_cache": False}
    if rows.layout == "single" and kernel != "flex_attention":
        # A backbone left to count positions by itself takes its causal kernels, which need no mask.
        return inputs
    if kernel == "flash_attention_2":
        # transformers finds the sequences of a batch of one row by their positions.
        flat = {"input_ids": rows.input_ids, "position_ids": rows.position_ids}
        return inputs | {name: tensor.reshape(1, -1) for name, tensor in flat.items()}
    mask = rows.position_ids[:, None, None] if kernel == PATHS else backbone_masks(backbone, rows, kernel)
    return inputs | {"position_ids": rows.position_ids, "attention_mask": mask}


def _can_follow_paths(backbone: PreTrainedModel, rows: PackedRows) -> bool:
    """True if :mod:`erprm.models.attention.kernels` can handle these rows.

    Compiled layers take the mask, which leaves them whole; tensors without content have no runs.
    """
    window = getattr(backbone.config.get_text_config(), "sliding_window", None)
    reaches = window is None or rows.input_ids.shape[1] <= window
    layers = getattr(backbone.get_decoder(), "layers", ())
    is_compiled = any(getattr(layer, "_compiled_call_impl", None) is not None for layer in layers)
    return reaches and not is_compiled and backbone._can_set_attn_implementation() and not is_fake(rows.position_ids)
