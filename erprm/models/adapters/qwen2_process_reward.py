"""The architecture of Qwen2.5-Math-PRM, whose code on the hub is not run.

The shapes and names of its weights are those of the checkpoint: a Qwen2 without its output layer (``model``), and a
head of two linear layers with a ReLU between them (``score.0``, ``score.2``) at every token.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import Qwen2Config
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.models.qwen2.modeling_qwen2 import Qwen2Model, Qwen2PreTrainedModel


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    """Logits of the classes bad and good at every token."""

    def __init__(self, config: Qwen2Config) -> None:
        """Makes the layers; ``config.num_labels`` is 2 unless the checkpoint says otherwise."""
        super().__init__(config)
        self.model = Qwen2Model(config)
        width, classes = config.hidden_size, int(config.num_labels or 2)
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, **inputs: Any) -> TokenClassifierOutput:
        """Takes the arguments of ``Qwen2Model``; ``logits`` of the result are ``[rows, tokens, 2]``."""
        return TokenClassifierOutput(logits=self.score(self.model(**inputs).last_hidden_state))
