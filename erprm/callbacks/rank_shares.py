"""Scoring of many solutions by all processes of a trainer, each its share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from erprm.callbacks.scoring_progress import shown_progress
from erprm.scoring.scorer import StepScorer, checked_scores, refuse_nan
from erprm.steps import Solution


def score_on_all_ranks(trainer: L.Trainer, module: L.LightningModule, solutions: Sequence[Solution]) -> list[Tensor]:
    """Step scores of the solutions, the same on every process; all processes call it at the same time.

    Each process scores a share of the solutions. Only where the trainer's strategy shards weights, so that each forward
    takes all processes, and the module does not see to it that all make the same number of forwards
    (``ranks_may_differ``, see :class:`erprm.models.StepScorer`), each scores all of them.

    Args:
        trainer: the trainer.
        module: its module, a :class:`erprm.models.StepScorer`.
        solutions: what to score, the same on every process.

    Returns:
        For each solution the scores of its steps, in float32, on the CPU.

    Raises:
        ValueError: if the module returns not one score for each step, or NaN for one; names the solution.
    """
    is_sharded = isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy)
    world_size = trainer.world_size
    if not solutions:
        return []
    if world_size == 1 or (is_sharded and not getattr(module, "ranks_may_differ", False)):
        return _scores(trainer, module, solutions)
    # Dealt out longest first, so that the shares are about equally long.
    order = sorted(range(len(solutions)), key=lambda i: -sum(map(len, solutions[i].steps)))
    own = order[trainer.global_rank :: world_size]
    lengths = [len(solution.steps) for solution in solutions]
    gathered = [torch.zeros(length) for length in lengths]
    if own or is_sharded:
        for place, scores in zip(own, _scores(trainer, module, [solutions[i] for i in own]), strict=True):
            gathered[place] = scores
    # Each step has a score on one process and zero on the others.
    flat_S = torch.cat([*gathered, torch.empty(0)]).to(trainer.strategy.root_device)
    return list(trainer.strategy.reduce(flat_S, reduce_op="sum").cpu().split(lengths))


def _scores(trainer: L.Trainer, module: L.LightningModule, solutions: Sequence[Solution]) -> list[Tensor]:
    assert isinstance(module, StepScorer)
    scores: Any
    with shown_progress(trainer, len(solutions)):
        if isinstance(trainer.model, FullyShardedDataParallel):
            # Weights outside the decoder layers are only there while a forward of the wrapper runs.
            scores = trainer.strategy._forward_redirection(trainer.model, module, "score_steps", solutions)
        else:
            scores = module.score_steps(solutions)
    checked = checked_scores(scores, solutions)
    refuse_nan(checked, solutions)
    return checked
