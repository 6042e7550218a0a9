"""Adapters describe the checkpoints of a project: the layout of steps, and the head that judges a step.

An adapter is known before a weight is read, so what needs transformers is imported by what loads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from erprm.steps import StepFormat

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from erprm.data.packing import StepBatch
    from erprm.models.process_reward import ProcessRewardModel


@dataclass(frozen=True)
class Adapter(ABC):
    """Reads the checkpoints of a project; one of your own is a subclass of this or of one of its kinds.

    Attributes:
        step_format: the layout that the project's own code gives them.
        published: names of checkpoints on the hub, without their owner, in lower case.
    """

    step_format: StepFormat
    published: tuple[str, ...] = ()

    head: ClassVar[str]
    """Description of the head that judges a step."""

    @staticmethod
    @abstractmethod
    def matches(architecture: str) -> bool:
        """True if it reads checkpoints of an architecture, as ``config.json`` names it."""

    @abstractmethod
    def load(self, model: ProcessRewardModel) -> PreTrainedModel:
        """The checkpoint of ``model.backbone_path`` with its weights.

        Raises:
            BackboneError: if it cannot be loaded, or is not what the adapter reads.
        """

    @abstractmethod
    def step_logits(self, model: ProcessRewardModel, batch: StepBatch) -> Tensor:
        """Logits of good and bad at each scored step of packed rows ``[S, 2]``."""


class LabelTokenAdapter(Adapter):
    """Causal language models, which judge a step by two tokens of the vocabulary."""

    head = "label_tokens"

    @staticmethod
    def matches(architecture: str) -> bool:
        """Causal language models."""
        return architecture.endswith(("ForCausalLM", "LMHeadModel"))

    def load(self, model: ProcessRewardModel) -> PreTrainedModel:
        """See :meth:`Adapter.load`."""
        from erprm.models.process_reward import ProcessRewardModel

        return ProcessRewardModel.build_backbone(model)

    def step_logits(self, model: ProcessRewardModel, batch: StepBatch) -> Tensor:
        """See :meth:`Adapter.step_logits`."""
        from erprm.models.process_reward import ProcessRewardModel

        return ProcessRewardModel.step_logits(model, batch)


class TwoClassAdapter(Adapter):
    """Token classifiers, which judge a step by a linear layer of two classes."""

    head = "two_classes"

    @staticmethod
    def matches(architecture: str) -> bool:
        """Token classifiers."""
        return architecture.endswith("ForTokenClassification")

    def load(self, model: ProcessRewardModel) -> PreTrainedModel:
        """See :meth:`Adapter.load`."""
        from erprm.models.two_class import load_token_classifier

        return load_token_classifier(
            self.model_class(),
            model.backbone_path,
            dtype=model.dtype_name,
            attn_implementation=model.attn_implementation,
        )

    def model_class(self) -> Any:
        """The class whose ``from_pretrained`` loads the model."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification

    def step_logits(self, model: ProcessRewardModel, batch: StepBatch) -> Tensor:
        """See :meth:`Adapter.step_logits`."""
        from erprm.models.two_class import class_logits

        return class_logits(model, batch)


class Qwen2ProcessRewardAdapter(TwoClassAdapter):
    """Qwen2.5-Math-PRM, whose head is two linear layers with a ReLU between them."""

    head = "two_classes_mlp"

    @staticmethod
    def matches(architecture: str) -> bool:
        """The architecture of these models alone."""
        return architecture == "Qwen2ForProcessRewardModel"

    def model_class(self) -> Any:
        """The class whose ``from_pretrained`` loads the model."""
        from erprm.models.adapters.qwen2_process_reward import Qwen2ForProcessRewardModel

        return Qwen2ForProcessRewardModel
