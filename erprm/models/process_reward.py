"""The autoregressive process reward model: a causal LM whose next-token logits at each step tag judge the step.

Shape suffixes: R packed rows of T tokens, S scored steps, V vocabulary, 2 the good and the bad label.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedModel

from erprm.data.datamodule import PackedSteps
from erprm.data.packing import PACKINGS, Layout, Packing, StepBatch, budget_bounds, pack_solutions
from erprm.data.resumption import check_unchanged
from erprm.data.solutions import SolutionRow
from erprm.data.tries import cut_tries, trie_order
from erprm.models.attention import ATTENTIONS, Attention, row_inputs
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
from erprm.models.losses import LOSSES, Loss, step_losses, vocabulary_losses
from erprm.models.packing_check import check_layout
from erprm.models.resumable import ResumableModule
from erprm.models.schedule import CosineWithWarmup
from erprm.models.step_metrics import StepMetrics
from erprm.steps import EncodedSolution, Solution, StepEncoder, StepFormat

STEP_FORMAT_FILE = "step_format.json"


class ProcessRewardModel(ResumableModule):
    """Trains a causal LM to give each step of a solution its reward, and scores steps with it.

    For another backbone override :meth:`build_backbone`; for another kind of head, :meth:`step_logits`.
    """

    def __init__(
        self,
        backbone: str,
        tokenizer: str | None = None,
        gguf_file: str | None = None,
        step_format: StepFormat | str | None = None,
        optimizer: OptimizerFactory = lambda params: AdamW(params, lr=1e-6, weight_decay=0.0),
        scheduler: SchedulerFactory | None = CosineWithWarmup,
        dtype: Dtype = "float32",
        attn_implementation: Attention = "auto",
        loss: Loss = "two_way",
        gradient_checkpointing: bool = False,
        score_max_tokens: int = 4096,
        score_row_tokens: int | None = None,
        score_packing: Packing = "trees",
    ) -> None:
        """Notes the settings; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of a causal language model.
            tokenizer: folder or hub id of its tokenizer; by default ``backbone``.
            gguf_file: name of a GGUF file in the folder, for backbone and tokenizer.
            step_format: layout of steps as tokens: its fields, or the name of a preset. By default the one saved with
                the backbone by :meth:`save_pretrained`, else the preset ``er_prm``.
            optimizer: makes the optimizer from the trainable parameters.
            scheduler: makes the learning-rate schedule from the optimizer and the total number of optimizer steps;
                null for a constant learning rate.
            dtype: type of the weights.
            attn_implementation: ``auto``, ``sdpa``, ``eager``, ``flex_attention`` or ``flash_attention_2`` (see
                :mod:`erprm.models.attention`).
            loss: ``two_way``, ``vocabulary`` or ``mse`` (see :mod:`erprm.models.losses`).
            gradient_checkpointing: recompute activations in the backward pass to save memory.
            score_max_tokens: tokens of a batch when scoring.
            score_row_tokens: tokens of one of its rows; by default a batch is one row.
            score_packing: ``trees`` reads what solutions of the same question have in common once, ``rows`` does
                without.

        Raises:
            ValueError: if the step format is not a known preset or has no label tokens for :meth:`step_logits`, or a
                setting is not one of those it can be.
        """
        super().__init__()
        _check_choices(attn_implementation=attn_implementation, loss=loss, score_packing=score_packing)
        self.backbone_path = backbone
        self.tokenizer_path = tokenizer or backbone
        self.gguf_file = gguf_file
        self.step_format = _resolve_step_format(step_format, backbone)
        if self.step_format.positive is None and type(self).step_logits is ProcessRewardModel.step_logits:
            raise ValueError(
                "model.step_format has no label tokens: its labels are the two classes of a head. Give it positive and "
                "negative, or use a model whose step_logits reads such a head"
            )
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.dtype_name: Dtype = dtype
        self.attn_implementation: Attention = attn_implementation
        self.loss: Loss = loss
        self.gradient_checkpointing = gradient_checkpointing
        self.score_max_tokens = score_max_tokens
        self.score_row_tokens = score_row_tokens
        self.score_packing: Packing = score_packing
        self.backbone: PreTrainedModel | None = None
        self.validation_metrics = StepMetrics()
        self._layouts_checked: set[Layout] = set()

    @classmethod
    def from_pretrained(cls, path: str | Path, **settings: Any) -> ProcessRewardModel:
        """A model with its weights loaded, in evaluation mode, from what :meth:`save_pretrained` wrote."""
        model = cls(str(path), **settings)
        model.configure_model()
        return model.eval()

    @cached_property
    def step_encoder(self) -> StepEncoder:
        """The step format on the backbone's tokenizer."""
        return self.step_format.bind(load_tokenizer(self.tokenizer_path, self.gguf_file))

    def build_backbone(self) -> PreTrainedModel:
        """Loads the backbone; override for one that ``AutoModelForCausalLM`` does not know."""
        return load_causal_lm(
            self.backbone_path, self.gguf_file, dtype=self.dtype_name, attn_implementation=self.attn_implementation
        )

    def configure_model(self) -> None:
        """Builds the backbone once, as wide as the tokenizer; Lightning calls this before fit, test and predict."""
        if self.backbone is not None:
            return
        self.backbone = self.build_backbone()
        fit_embeddings(self.backbone, self.step_encoder.tokenizer)
        self.backbone.train(self.training)
        if self.gradient_checkpointing:
            self.backbone.gradient_checkpointing_enable()

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of the good and the bad label at each scored step of packed rows.

        Returns:
            ``[S, 2]``.
        """
        return self._logits_at_tags(batch, self._label_tokens)

    def backbone_inputs(self, batch: StepBatch) -> dict[str, Any]:
        """The arguments of the backbone's forward under which no solution of a batch sees another.

        For a :meth:`step_logits` of your own; see :mod:`erprm.models.attention`.
        """
        assert self.backbone is not None, "configure_model has not been called"
        return row_inputs(self.backbone, batch, self.attn_implementation)

    def _logits_at_tags(self, batch: StepBatch, tokens: Sequence[int] | None) -> Tensor:
        assert self.backbone is not None, "configure_model has not been called"
        return logits_at(self.backbone, batch, batch.tag_index, tokens=tokens, attention=self.attn_implementation)

    @property
    def _label_tokens(self) -> tuple[int, int]:
        return self.step_encoder.positive_id, self.step_encoder.negative_id

    def logits_and_losses(self, batch: StepBatch) -> tuple[Tensor, Tensor]:
        """The logits of :meth:`step_logits` ``[S, 2]``, and the loss of each scored step ``[S]``."""
        self._check_layout(batch.layout)
        if self.loss == "vocabulary":
            logits_SV = self._logits_at_tags(batch, tokens=None)
            losses_S = vocabulary_losses(logits_SV, batch.labels, self._label_tokens)
            return logits_SV[:, list(self._label_tokens)], losses_S
        logits_S2 = self.step_logits(batch)
        return logits_S2, step_losses(logits_S2, batch.labels, self.loss)

    def forward(self, batch: StepBatch) -> Tensor:
        """Scores of the steps of packed rows: P(good) at each tag ``[S]``, in float32."""
        self._check_layout(batch.layout)
        return self.step_logits(batch).float().softmax(-1)[:, 0]

    def _check_layout(self, layout: Layout) -> None:
        """Makes sure, once for each layout, that the backbone keeps the solutions of such rows apart."""
        if layout not in self._layouts_checked:
            check_layout(self, layout)
            self._layouts_checked.add(layout)

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        """Loss of one packed batch."""
        loss = self.logits_and_losses(batch)[1].mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Gathers the loss and the step metrics."""
        self._evaluate(batch)

    def test_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Gathers the loss and the step metrics."""
        self._evaluate(batch)

    def _evaluate(self, batch: StepBatch) -> None:
        logits_S2, losses_S = self.logits_and_losses(batch)
        self.validation_metrics.update(logits_S2.float().softmax(-1)[:, 0], batch.labels, losses_S, batch.problem)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/loss``, ``val/accuracy``, ``val/auroc``, ... (see :class:`StepMetrics`)."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs the same under ``test/``."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        self.log_dict({f"{stage}/{name}": value for name, value in self.validation_metrics.compute().items()})
        self.validation_metrics.reset()

    def predict_step(self, batch: Sequence[SolutionRow], batch_idx: int) -> list[Tensor]:
        """Step scores of the solutions of some rows."""
        return self.score_steps([entry.solution for entry in batch])

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule of the settings."""
        return optimizer_with_schedule(self, self.optimizer_factory, self.scheduler_factory)

    @torch.no_grad()
    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        """Scores every step of every solution, packed.

        Args:
            solutions: questions with steps.

        Returns:
            For each solution P(good) of its steps ``[steps]``, float32, on the CPU.

        Raises:
            StepFormatError: if a solution cannot be laid out.
            ValueError: if a solution is longer than the backbone's context.
        """
        if not solutions:
            return []
        encoded = self.step_encoder.encode_batch(solutions)
        lengths = [len(solution.input_ids) for solution in encoded]
        self._check_context(lengths, solutions)
        order, shared = self._scoring_order(solutions, encoded)
        scores: list[Tensor] = [torch.empty(0)] * len(solutions)
        bounds = budget_bounds(lengths, max([self.score_max_tokens, *lengths]), order, shared)
        for start, stop in pairwise(bounds.tolist()):
            pack, shared_in_pack = order[start:stop], shared[start:stop].copy()
            shared_in_pack[0] = 0
            batch = pack_solutions(
                [encoded[i].input_ids for i in pack],
                [encoded[i].tag_positions for i in pack],
                row_tokens=self.score_row_tokens,
                shared=shared_in_pack,
            )
            scores_S = self(self.transfer_batch_to_device(batch, self.device, 0)).cpu()
            for i, part in zip(pack, scores_S.split([len(encoded[i].tag_positions) for i in pack]), strict=True):
                scores[i] = part
        return scores

    def _scoring_order(
        self, solutions: Sequence[Solution], encoded: Sequence[EncodedSolution]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The order to score solutions in, longest first, and how much each shares with the one before it.

        Solutions of one question stand together as trees, of the size that rows hold.
        """
        lengths = np.array([len(solution.input_ids) for solution in encoded])
        longest_first = np.argsort(-lengths, kind="stable")
        if self.score_packing == "rows":
            return longest_first, np.zeros(len(lengths), dtype=np.int32)
        of_question: dict[str, list[int]] = {}
        for i in longest_first.tolist():
            of_question.setdefault(solutions[i].question, []).append(i)
        orders, shared = [], []
        for members in of_question.values():
            by_tokens, shared_by_tokens = trie_order([np.array(encoded[i].input_ids) for i in members])
            orders.append(np.array(members)[by_tokens])
            shared.append(shared_by_tokens)
        order, shared_N = np.concatenate(orders), np.concatenate(shared)
        if self.score_row_tokens is not None:
            shared_N = cut_tries(lengths[order], shared_N, self.score_row_tokens)
        return order, shared_N

    @property
    def _context(self) -> float:
        """The most tokens that the backbone reads."""
        assert self.backbone is not None, "configure_model has not been called"
        return getattr(self.backbone.config, "max_position_embeddings", None) or math.inf

    def _check_context(self, lengths: Sequence[int], solutions: Sequence[Solution]) -> None:
        for length, solution in zip(lengths, solutions, strict=True):
            if length > self._context:
                raise ValueError(
                    f"the solution of {solution.question[:60]!r} has {length} tokens; "
                    f"the backbone reads {self._context}"
                )

    def on_fit_start(self) -> None:
        """Makes sure that the backbone can read every solution of the data.

        Raises:
            ValueError: if one is longer than the backbone's context; names its record.
        """
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        for part in (getattr(datamodule, name, None) for name in ("train_set", "validation_set")):
            if isinstance(part, PackedSteps) and part.lengths.max() > self._context:
                (record,) = part.record_ids([int(part.lengths.argmax())])
                raise ValueError(
                    f"{record} has {part.lengths.max()} tokens, but the backbone reads {self._context}: "
                    "set data.max_length to at most that"
                )

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a plain Hugging Face folder: weights as safetensors, tokenizer, and the step format.

        ``AutoModelForCausalLM`` loads it as it is; :meth:`from_pretrained` also finds the step format.
        """
        assert self.backbone is not None, "configure_model has not been called"
        folder = Path(folder)
        self.backbone.save_pretrained(folder)
        self.step_encoder.tokenizer.save_pretrained(folder)
        (folder / STEP_FORMAT_FILE).write_text(
            json.dumps(self.step_format.to_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores the step format beside the weights."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["step_format"] = self.step_format.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses weights that were trained with another step format.

        Raises:
            ResumeError: naming the fields that differ, with both values, unless the data module says ``allow_change``.
        """
        super().on_load_checkpoint(checkpoint)
        datamodule = self._trainer.datamodule if self._trainer is not None else None  # type: ignore[attr-defined]
        saved, now = (
            {f"step_format.{name}": value for name, value in step_format.items()}
            for step_format in (checkpoint.get("step_format", {}), self.step_format.to_dict())
        )
        check_unchanged(saved, now, allow_change=getattr(datamodule, "allow_change", False))


def _check_choices(**settings: str) -> None:
    choices = {"attn_implementation": ATTENTIONS, "loss": LOSSES, "score_packing": PACKINGS}
    for name, value in settings.items():
        if value not in choices[name]:
            raise ValueError(f"model.{name} is {value!r}; it must be one of {', '.join(choices[name])}")


def _resolve_step_format(step_format: StepFormat | str | None, backbone: str) -> StepFormat:
    if isinstance(step_format, StepFormat):
        return step_format
    if isinstance(step_format, str):
        return StepFormat.preset(step_format)
    saved = Path(backbone) / STEP_FORMAT_FILE
    if saved.is_file():
        try:
            return StepFormat.from_dict(json.loads(saved.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{saved}: {error}") from error
    return StepFormat.preset("er_prm")
