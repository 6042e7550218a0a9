"""A process reward model of another project as a :class:`ProcessRewardModel`: scored, evaluated, trained on."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedModel

from erprm.data.packing import StepBatch
from erprm.models.adapters.choice import AUTO, AdapterError, choose_adapter
from erprm.models.adapters.qwen2_process_reward import Qwen2ForProcessRewardModel
from erprm.models.backbone import load_pretrained
from erprm.models.process_reward import ProcessRewardModel

# Classes of the heads: bad is 0, good is 1.
_GOOD_BAD = [1, 0]


class AdaptedRewardModel(ProcessRewardModel):
    """Reads a checkpoint as the project that published it does; see docs/other-prms.md.

    Attributes:
        choice: the adapter, and why it was chosen.
    """

    def __init__(
        self,
        backbone: str,
        adapter: str = AUTO,
        step_format: dict[str, str | bool | None] | None = None,
        **settings: Any,
    ) -> None:
        """Chooses the adapter; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of the checkpoint.
            adapter: ``er_prm``, ``math_shepherd``, ``rlhflow``, ``qwen_prm``, ``trl``, ``erprm`` (saved by this
                package), or ``auto``, which asks the checkpoint's configuration.
            step_format: fields in which the checkpoint's step format differs from the adapter's.
            settings: those of :class:`ProcessRewardModel`.

        Raises:
            AdapterError: if the adapter is unknown, is not the checkpoint's, or cannot be told.
            StepFormatError: if a field of the step format is wrong.
        """
        self.choice = choose_adapter(backbone, adapter, step_format)
        super().__init__(backbone, step_format=self.choice.step_format, **settings)
        rank_zero_info(f"{backbone}: read by the adapter {self.choice.name}: {self.choice.reason}")

    def build_backbone(self) -> PreTrainedModel:
        """The checkpoint with its weights.

        Raises:
            BackboneError: if weights are missing, a head has not two classes, or a token is judged by what follows it.
        """
        if self.choice.head == "label_tokens":
            return super().build_backbone()
        loader = AutoModelForTokenClassification if self.choice.head == "two_classes" else Qwen2ForProcessRewardModel
        model = load_pretrained(
            loader, self.backbone_path, dtype=self.dtype_name, attn_implementation=self.attn_implementation
        )
        if model.config.num_labels != 2:
            raise AdapterError(
                f"the head of {self.backbone_path!r} has {model.config.num_labels} classes; adapter "
                f"{self.choice.name!r} reads two, bad and good"
            )
        if not _is_causal(model):
            raise AdapterError(
                f"{self.backbone_path!r}, a {type(model).__name__}, judges a token by what follows it, too; adapter "
                f"{self.choice.name!r} reads decoders, whose scores of a step stay what they are when more steps come"
            )
        return model

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of good and bad at each scored step of packed rows ``[S, 2]``."""
        if self.choice.head == "label_tokens":
            return super().step_logits(batch)
        assert self.backbone is not None, "configure_model has not been called"
        logits = self.backbone(**self.backbone_inputs(batch)).logits
        logits_S2: Tensor = logits.flatten(0, 1)[batch.tag_index][:, _GOOD_BAD]
        return logits_S2


@torch.no_grad()
def _is_causal(model: PreTrainedModel) -> bool:
    """Whether the logits of a token are the same with another behind it."""
    alone, followed = (model(input_ids=torch.tensor([ids])).logits[0, 0].float() for ids in ([0], [0, 1]))
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    return torch.allclose(alone, followed, rtol=tolerance, atol=tolerance)
