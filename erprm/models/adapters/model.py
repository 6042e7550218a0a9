"""A process reward model of another project as a :class:`ProcessRewardModel`: scored, evaluated, trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME

from erprm.data.packing import StepBatch
from erprm.engines.model_files import json_object
from erprm.models.adapters.choice import choose_adapter
from erprm.models.adapters.registry import AUTO, AdapterSetting
from erprm.models.process_reward import ProcessRewardModel
from erprm.models.trained_loss import LOSS_KEY, refuse_untrained_belief


class AdaptedRewardModel(ProcessRewardModel):
    """Reads a checkpoint as the project that published it does; see docs/other-prms.md.

    Attributes:
        choice: the adapter, and why it was chosen.
    """

    def __init__(
        self,
        backbone: str,
        adapter: AdapterSetting = AUTO,
        step_format: dict[str, str | bool | None] | None = None,
        **settings: Any,
    ) -> None:
        """Chooses the adapter; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of the checkpoint.
            adapter: ``er_prm``, ``math_shepherd``, ``rlhflow``, ``qwen_prm``, ``trl``, ``erprm`` (saved by this
                package), or ``auto``, which asks the checkpoint's configuration; or an adapter of your own by its
                import path, or by ``class_path`` and ``init_args``.
            step_format: fields in which the checkpoint's step format differs from the adapter's.
            settings: those of :class:`ProcessRewardModel`.

        Raises:
            AdapterError: if the adapter is unknown, is not the checkpoint's, or cannot be told.
            StepFormatError: if a field of the step format is wrong.
            ValueError: as :class:`ProcessRewardModel`, or if ``score_eta`` is not 0 for a local folder that was trained
                with another loss.
        """
        self.choice = choose_adapter(backbone, adapter, step_format)
        super().__init__(backbone, step_format=self.choice.step_format, **settings)
        config_file = Path(self.backbone_path) / CONFIG_NAME
        # A model of that loss may still be trained, or get a checkpoint.
        if self.loss != "beta_binomial" and config_file.is_file():
            loss = json_object(config_file).get(LOSS_KEY)
            refuse_untrained_belief(self.score_eta, loss, self.backbone_path)
        rank_zero_info(f"{backbone}: read by the adapter {self.choice.name}: {self.choice.reason}")

    def build_backbone(self) -> PreTrainedModel:
        """The checkpoint with its weights.

        Raises:
            BackboneError: if weights are missing, a head has not two classes, or a token is judged by what follows it.
        """
        return self.choice.adapter.load(self)

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of good and bad at each scored step of packed rows ``[S, 2]``."""
        return self.choice.adapter.step_logits(self, batch)
