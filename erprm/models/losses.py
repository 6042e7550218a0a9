"""The loss of the autoregressive process reward model (arXiv 2412.11006, section 3).

Shape suffixes: S scored steps, 2 the good and the bad label.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """The loss is NaN or infinite; the message names the records of the batch."""

    def __init__(self, loss: Tensor, global_step: int, batch_idx: int, record_ids: Sequence[str]) -> None:
        """Says where it happened.

        Args:
            loss: the loss.
            global_step: optimizer steps done.
            batch_idx: batch of the epoch.
            record_ids: names of the batch's records.
        """
        super().__init__(
            f"loss is {loss.item()} at optimizer step {global_step}, batch {batch_idx}, with the records: "
            + ", ".join(record_ids)
        )


def step_losses(logits_S2: Tensor, labels_S: Tensor) -> Tensor:
    """Cross-entropy of the two-way softmax over the label tokens against (R, 1 - R), in float32.

    Args:
        logits_S2: logits of the good and the bad label at each step's tag ``[S, 2]``.
        labels_S: step rewards R in [0, 1] ``[S]``.

    Returns:
        The loss of each step ``[S]``.
    """
    difference_S = logits_S2[:, 0].float() - logits_S2[:, 1].float()
    return F.binary_cross_entropy_with_logits(difference_S, labels_S.float(), reduction="none")
