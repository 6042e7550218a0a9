"""The policy: supervised fine-tuning of a causal LM on solutions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from erprm.data.policy import PolicyBatch
from erprm.engines.model_files import load_tokenizer
from erprm.models.attention.kernels import Attention
from erprm.models.backbone.loading import (
    Dtype,
    OptimizerFactory,
    SchedulerFactory,
)
from erprm.models.backbone.lora import LoRA
from erprm.models.backbone.module import BackboneModule
from erprm.models.logits import cross_entropy_at
from erprm.models.training.schedule import CosineWithWarmup


class PolicyModel(BackboneModule):
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
        gradient_checkpointing: bool = False,
        lora: LoRA | None = None,
        compile: bool = False,  # noqa: A002 (the name of the option)
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
                :mod:`erprm.models.attention.kernels`).
            gradient_checkpointing: recompute the activations of each decoder layer in the backward pass, which saves
                memory.
            lora: train low-rank adapters instead of the weights; by default the weights.
            compile: translate the decoder layers with ``torch.compile``, which takes a C++ compiler and some time at
                the first batch.
        """
        super().__init__(
            backbone,
            tokenizer,
            gguf_file,
            optimizer=optimizer,
            scheduler=scheduler,
            dtype=dtype,
            attn_implementation=attn_implementation,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
            compile_layers=compile,
        )

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self.tokenizer_path, self.gguf_file)

    @property
    def backbone_tokenizer(self) -> PreTrainedTokenizerBase:
        """The same as :attr:`tokenizer`."""
        return self.tokenizer

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the completion tokens of one packed batch, in float32."""
        assert self.backbone is not None, "configure_model has not been called"
        losses_S = cross_entropy_at(
            self.backbone, batch, batch.predict_index, batch.targets, attention=self.attn_implementation
        )
        loss, mean = self.mean_loss(losses_S)
        self.log("train/loss", mean, prog_bar=True)
        return loss

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a plain Hugging Face folder: weights as safetensors, and the tokenizer.

        Adapters are merged into the weights. If weights are sharded, all processes call this, and the first one writes.
        """
        if self.write_backbone(Path(folder)):
            self.tokenizer.save_pretrained(folder)
