"""A process reward model of another project as a :class:`ProcessRewardModel`: scored, evaluated, trained on."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedModel

from erprm.data.packing import StepBatch
from erprm.models.adapters.choice import AUTO, choose_adapter
from erprm.models.adapters.qwen2_process_reward import Qwen2ForProcessRewardModel
from erprm.models.heads.two_class import class_logits, load_token_classifier
from erprm.models.process_reward import ProcessRewardModel


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
        return load_token_classifier(
            loader, self.backbone_path, dtype=self.dtype_name, attn_implementation=self.attn_implementation
        )

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of good and bad at each scored step of packed rows ``[S, 2]``."""
        if self.choice.head == "label_tokens":
            return super().step_logits(batch)
        return class_logits(self, batch)
