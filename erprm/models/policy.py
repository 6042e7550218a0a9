"""The policy: supervised fine-tuning of a causal LM on solutions."""

from __future__ import annotations

import math
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


def importance_weights(losses_S: Tensor, log_probs_S: Tensor, cap: float) -> Tensor:
    """Probabilities of tokens over those that they were sampled with, at most ``cap``; no gradient flows through them.

    Args:
        losses_S: negative logarithms of the probabilities now ``[S]``.
        log_probs_S: logarithms of those at the time of sampling ``[S]``.
        cap: the largest weight.
    """
    # Cut off before it is exponentiated, where it may be infinite.
    return (-losses_S.detach() - log_probs_S).clamp(max=math.log(cap)).exp()


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
        importance_cap: float | None = None,
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
            importance_cap: weigh the loss of each token by its probability over the one it was sampled with
                (``log_probs`` of the samples), or by this number where the ratio is larger; by default all count the
                same.

        Raises:
            ValueError: if ``importance_cap`` is below 1 or not finite.
        """
        if importance_cap is not None and not 1.0 <= importance_cap < math.inf:
            raise ValueError(f"importance_cap is {importance_cap}; it must be null or a finite number of at least 1")
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
        self.importance_cap = importance_cap

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self.tokenizer_path, self.gguf_file)

    @property
    def backbone_tokenizer(self) -> PreTrainedTokenizerBase:
        """The same as :attr:`tokenizer`."""
        return self.tokenizer

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the completion tokens of one packed batch, in float32.

        Raises:
            ValueError: if ``importance_cap`` is set and the samples do not say how likely they were.
        """
        assert self.backbone is not None, "configure_model has not been called"
        losses_S = cross_entropy_at(
            self.backbone, batch, batch.predict_index, batch.targets, attention=self.attn_implementation
        )
        if self.importance_cap is not None:
            if batch.log_probs is None:
                raise ValueError(
                    f"model.importance_cap is {self.importance_cap}, and the samples have no field 'log_probs', which "
                    "says how likely each token was where it was sampled; add it, or set model.importance_cap to null"
                )
            losses_S = losses_S * importance_weights(losses_S, batch.log_probs, self.importance_cap)
        loss, mean = self.mean_loss(losses_S)
        self.log("train/loss", mean, prog_bar=True)
        return loss

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a plain Hugging Face folder: weights as safetensors, and the tokenizer.

        Adapters are merged into the weights. If weights are sharded, all processes call this, and the first one writes.
        """
        with self.whole_export(Path(folder)) as files:
            if self.write_backbone(files):
                self.tokenizer.save_pretrained(files)
