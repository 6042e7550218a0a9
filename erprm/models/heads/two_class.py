"""Models that judge a step by a head of two classes, bad and good, instead of two tokens of the vocabulary.

Shape suffixes: S scored steps, 2 the good and the bad label.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel

from erprm.data.packing import StepBatch
from erprm.models.attention.kernels import Attention
from erprm.models.backbone.loading import BackboneError, Dtype, load_pretrained
from erprm.models.process_reward import ProcessRewardModel

CLASSES = ("bad", "good")
# What `step_logits` gives first is the good label.
_GOOD_BAD = [1, 0]


class TokenClassificationRewardModel(ProcessRewardModel):
    """Trains a language model with a head of two classes, read at every step tag, as TRL's ``PRMTrainer`` did.

    The backbone is a language model, whose head then starts at random, or a token classifier of two classes, which
    keeps its head. The step format is by default the preset ``trl``; label tokens of another one are left out. Dropout
    is off. With LoRA the head is trained whole. See docs/from-trl.md.
    """

    default_step_format = "trl"

    def __init__(self, backbone: str, **settings: Any) -> None:
        """Notes the settings; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of a language model, or of a token classifier.
            settings: those of :class:`ProcessRewardModel`.

        Raises:
            ValueError: as :class:`ProcessRewardModel`, or if the loss needs label tokens.
        """
        super().__init__(backbone, **settings)
        if self.loss == "vocabulary":
            raise ValueError("model.loss is 'vocabulary'; a head of two classes has none: it must be two_way or mse")
        self.step_format = replace(self.step_format, positive=None, negative=None)

    def build_backbone(self) -> PreTrainedModel:
        """The model with its head.

        Raises:
            BackboneError: as :func:`load_token_classifier`.
        """
        model = load_token_classifier(
            AutoModelForTokenClassification,
            self.backbone_path,
            dtype=self.dtype_name,
            attn_implementation=self.attn_implementation,
            new_head=True,
        )
        model.config.id2label = dict(enumerate(CLASSES))
        model.config.label2id = {name: number for number, name in enumerate(CLASSES)}
        return model

    def is_trained_beside_adapters(self, name: str) -> bool:
        """With LoRA the head is trained whole."""
        assert self.backbone is not None, "configure_model has not been called"
        return _is_of_head(name, self.backbone)

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of good and bad at each scored step of packed rows ``[S, 2]``."""
        return class_logits(self, batch)


def load_token_classifier(
    loader: Any, path: str, *, dtype: Dtype, attn_implementation: Attention, new_head: bool = False
) -> PreTrainedModel:
    """Loads a model with a head of two classes, its dropout off.

    Args:
        loader: class with a ``from_pretrained``.
        path: folder or hub id.
        dtype: type of the weights.
        attn_implementation: attention of transformers.
        new_head: make up a head at random where the checkpoint has none.

    Raises:
        BackboneError: if weights are missing, a head has not two classes, or a token is judged by what follows it.
    """
    model = load_pretrained(
        loader,
        path,
        dtype=dtype,
        attn_implementation=attn_implementation,
        may_lack=_is_of_head if new_head else None,
    )
    if model.config.num_labels != len(CLASSES):
        raise BackboneError(
            f"the head of {path!r} has {model.config.num_labels} classes; a step is judged by two, bad and good"
        )
    if not _is_causal(model):
        raise BackboneError(
            f"{path!r}, a {type(model).__name__}, judges a token by what follows it, too; it must be a decoder, whose "
            "scores of a step stay what they are when more steps come"
        )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def class_logits(model: ProcessRewardModel, batch: StepBatch) -> Tensor:
    """Logits of good and bad, of a backbone with such a head, at each scored step ``[S, 2]``."""
    assert model.backbone is not None, "configure_model has not been called"
    logits_RT2 = model.backbone(**model.backbone_inputs(batch)).logits
    logits_S2: Tensor = logits_RT2.flatten(0, 1)[batch.tag_index][:, _GOOD_BAD]
    return logits_S2


def _is_of_head(name: str, model: PreTrainedModel) -> bool:
    return not name.startswith(f"{model.base_model_prefix}.")


@torch.no_grad()
def _is_causal(model: PreTrainedModel) -> bool:
    """True if the logits of a token do not change when another token follows it."""
    alone, followed = (model(input_ids=torch.tensor([ids])).logits[0, 0].float() for ids in ([0], [0, 1]))
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    return torch.allclose(alone, followed, rtol=tolerance, atol=tolerance)
