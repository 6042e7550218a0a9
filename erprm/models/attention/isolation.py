"""Checks that a model keeps the solutions of a packed row apart, by a trial on two short solutions.

Not every architecture of transformers follows positions and masks that are handed to it (state-space models have none,
BLOOM makes its own), and a subclass may have a forward of its own. Such a model would silently train on solutions that
read each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from erprm.data.batching.tries import trie_order
from erprm.data.packing import Layout, StepBatch, pack_solutions
from erprm.models.attention.masks import ONE_SOLUTION_A_ROW, AttentionError
from erprm.models.distributed.sharding import is_sharded
from erprm.steps import EncodedSolution, Solution

if TYPE_CHECKING:
    from erprm.models.process_reward import ProcessRewardModel

_SOLUTIONS = [
    Solution("What is 3 and 4 more?", ["3 + 4 = 7.", "The answer is: 7"]),
    Solution("What is 3 and 4 more?", ["3 + 4 = 7.", "7 + 7 = 14, which is more.", "So 14."]),
]
# What rounding may do to logits, as a share of the largest; the numbers of another solution do far more.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}


def check_layout(module: ProcessRewardModel, layout: Layout) -> None:
    """Compares the step logits of two solutions in one row with those of the same solutions in rows of their own.

    Costs two forwards of some fifty tokens. Left out where weights are sharded or not there yet: a forward is then
    something that all processes must do together.

    Raises:
        AttentionError: if the logits differ by more than rounding explains, or the forward fails; names the
            architecture and what to do.
    """
    is_empty = any(parameter.is_meta or is_fake(parameter) for parameter in module.parameters())
    if layout == "single" or is_empty or is_sharded(module):
        return
    encoded = module.step_encoder.encode_batch(_SOLUTIONS)
    order, shared = trie_order([np.array(solution.input_ids) for solution in encoded])
    ordered = [encoded[i] for i in order]
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            apart = _step_logits(module, _batch(ordered, row_tokens=1))
            try:
                together = _step_logits(module, _batch(ordered, shared=shared if layout == "trees" else None))
            except AttentionError:
                raise
            except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
                raise AttentionError(f"{_name(module)} cannot read packed rows ({error}): {_remedy(layout)}") from error
    finally:
        module.train(was_training)
    difference = float((together - apart).abs().max())
    scale = max(1.0, float(apart.abs().max()))
    # Weights that are not finite are another check's matter.
    if difference > _TOLERANCE[_computed_in(module)] * scale:
        raise AttentionError(
            f"{_name(module)} does not keep the solutions of a row apart (logits of a step change by {difference:.3g} "
            f"when another solution shares its row): {_remedy(layout)}"
        )


def _batch(
    encoded: list[EncodedSolution], row_tokens: int | None = None, shared: np.ndarray | None = None
) -> StepBatch:
    return pack_solutions(
        [solution.input_ids for solution in encoded],
        [solution.tag_positions for solution in encoded],
        row_tokens=row_tokens,
        shared=shared,
    )


def _step_logits(module: ProcessRewardModel, batch: StepBatch) -> Tensor:
    return module.step_logits(module.transfer_batch_to_device(batch, module.device, 0)).double()


def _computed_in(module: nn.Module) -> torch.dtype:
    """The type that decides how coarse the logits are: with mixed precision it is not that of the weights."""
    weight = next(module.parameters())
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _name(module: ProcessRewardModel) -> str:
    return f"{type(module).__name__} with {type(module.backbone).__name__}"


def _remedy(layout: Layout) -> str:
    return (
        ONE_SOLUTION_A_ROW
        if layout == "rows"
        else f"set data.packing and model.score_packing to rows, or {ONE_SOLUTION_A_ROW}"
    )
