"""The policy: supervised fine-tuning of a causal LM on solutions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from erprm.data.policy import PolicyBatch
from erprm.models.attention import Attention
from erprm.models.backbone import (
    Dtype,
    OptimizerFactory,
    SchedulerFactory,
    fit_embeddings,
    load_causal_lm,
    load_tokenizer,
    logits_at,
    optimizer_with_schedule,
)
from erprm.models.resumable import ResumableModule
from erprm.models.schedule import CosineWithWarmup


class PolicyModel(ResumableModule):
    """Trains a causal LM to write completions of prompts; the loss is on completion tokens alone."""

    def __init__(
        self,
        backbone: str,
        tokenizer: str | None = None,
        gguf_file: str | None = None,
        optimizer: OptimizerFactory = lambda params: AdamW(params, lr=5e-7, weight_decay=0.0),
        scheduler: SchedulerFactory | None = CosineWithWarmup,
        dtype: Dtype = "float32",
        attn_implementation: Attention = "auto",
    ) -> None:
        """Notes the settings; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of a causal language model.
            tokenizer: folder or hub id of its tokenizer; by default ``backbone``.
            gguf_file: name of a GGUF file in the folder, for backbone and tokenizer.
            optimizer: makes the optimizer from the trainable parameters.
            scheduler: makes the learning-rate schedule from the optimizer and the total number of optimizer steps;
                null for a constant learning rate.
            dtype: type of the weights.
            attn_implementation: ``auto``, ``sdpa``, ``eager``, ``flex_attention`` or ``flash_attention_2`` (see
                :mod:`erprm.models.attention`).
        """
        super().__init__()
        self.backbone_path = backbone
        self.tokenizer_path = tokenizer or backbone
        self.gguf_file = gguf_file
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.dtype_name: Dtype = dtype
        self.attn_implementation: Attention = attn_implementation
        self.backbone: PreTrainedModel | None = None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self.tokenizer_path, self.gguf_file)

    def configure_model(self) -> None:
        """Loads the backbone once; Lightning calls this before training."""
        if self.backbone is None:
            self.backbone = load_causal_lm(
                self.backbone_path, self.gguf_file, dtype=self.dtype_name, attn_implementation=self.attn_implementation
            )
            fit_embeddings(self.backbone, self.tokenizer)
            self.backbone.train(self.training)

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the completion tokens of one packed batch, in float32."""
        assert self.backbone is not None, "configure_model has not been called"
        logits_SV = logits_at(self.backbone, batch, batch.predict_index, attention=self.attn_implementation)
        loss = F.cross_entropy(logits_SV.float(), batch.targets)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule of the settings."""
        return optimizer_with_schedule(self, self.optimizer_factory, self.scheduler_factory)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a plain Hugging Face folder: weights as safetensors, and the tokenizer."""
        assert self.backbone is not None, "configure_model has not been called"
        self.backbone.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
