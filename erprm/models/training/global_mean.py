"""Mean over all steps of one optimizer step, across processes and accumulated batches.

Processes average gradients, and Lightning averages those of accumulated batches; but packed batches hold different
numbers of steps, so the mean of their means is not the mean over all steps. Here each loss is weighted by its number.
"""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor


class GlobalMean:
    """Makes each loss count the same.

    :meth:`loss` in every ``training_step`` and :meth:`rescale` after the last backward pass together give the
    gradient of the mean over all losses since the last optimizer step, of all processes.
    """

    def __init__(self) -> None:
        self._counts: list[Tensor] = []

    def loss(self, losses_S: Tensor, trainer: L.Trainer, weights_S: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Weights the losses of one batch.

        Args:
            losses_S: the losses of this process's batch ``[S]``.
            trainer: the trainer; all its processes call this at the same time.
            weights_S: how often each of them counts ``[S]``; ``None``: once.

        Returns:
            What is to be differentiated, and the mean over the batches of all processes.
        """
        amount = losses_S.new_tensor(len(losses_S)) if weights_S is None else weights_S.sum()
        losses_S = losses_S if weights_S is None else losses_S * weights_S
        totals = torch.stack([losses_S.detach().float().sum(), amount.float()])
        total, count = trainer.strategy.reduce(totals, reduce_op="sum").unbind()
        self._counts.append(count)
        # Of accumulated batches only the first one's number is known yet: it stands in for all until `rescale`.
        return losses_S.sum() * (trainer.world_size / self._counts[0]), total / count

    def rescale(self, module: L.LightningModule) -> None:
        """Corrects the gradients for the numbers of losses in the accumulated batches."""
        accumulated = module.trainer.accumulate_grad_batches
        if accumulated > 1 and self._counts:
            # Lightning divides by the number of batches it accumulates, of which an epoch's end may cut some off.
            factor = float(accumulated * self._counts[0] / torch.stack(self._counts).sum())
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        self._counts.clear()
