"""The autoregressive process reward model: a causal LM whose next-token logits at each step tag judge the step.

Shape suffixes: R packed rows of T tokens, S scored steps, V vocabulary, 2 the good and the bad label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from erprm.data.batching.packed_steps import PackedSteps
from erprm.data.batching.resumption import check_unchanged
from erprm.data.batching.tokenized import CountedFor
from erprm.data.batching.tries import scoring_packs
from erprm.data.packing import PACKINGS, Layout, Packing, StepBatch, pack_solutions
from erprm.engines.model_files import load_tokenizer
from erprm.errors import FailedRunError, InputError
from erprm.eta import Eta, read_eta
from erprm.losses import LOSSES, Loss, beta_binomial_losses, step_beliefs, step_losses, vocabulary_losses
from erprm.models.attention.isolation import check_layout
from erprm.models.attention.kernels import ATTENTIONS, Attention, row_inputs
from erprm.models.backbone.embeddings import embedding_weights, fit_embeddings
from erprm.models.backbone.loading import (
    Dtype,
    OptimizerFactory,
    SchedulerFactory,
)
from erprm.models.backbone.lora import LoRA
from erprm.models.backbone.module import BackboneModule
from erprm.models.calibration import calibrated, read_calibration
from erprm.models.distributed.sharding import forwards_of_every_process
from erprm.models.logits import logits_at
from erprm.models.step_format_file import STEP_FORMAT_FILE, saved_step_format
from erprm.models.trained_loss import LOSS_KEY, note_loss, refuse_untrained_belief, trained_loss
from erprm.models.training.schedule import CosineWithWarmup
from erprm.models.training.step_metrics import StepMetrics
from erprm.rewards import belief_reward
from erprm.runs.atomic import write_json
from erprm.scoring import tell_scored
from erprm.steps import EncodedSolution, Solution, StepEncoder, StepFormat, StepFormatError

if TYPE_CHECKING:
    from typing_extensions import Self

    from erprm.data.solutions import SolutionRow

Weighting = Literal["steps", "completions"]


class ProcessRewardModel(BackboneModule):
    """Trains a causal LM to give each step of a solution its reward, and scores steps with it.

    For another backbone override :meth:`build_backbone`; for another kind of head, :meth:`step_logits`.
    """

    ranks_may_differ = True
    """Processes may score different solutions at the same time; see :class:`erprm.models.StepScorer`."""
    default_step_format = "er_prm"
    """Preset of a model that is given no step format, and has none saved beside its backbone."""

    def __init__(
        self,
        backbone: str,
        tokenizer: str | None = None,
        gguf_file: str | None = None,
        step_format: str | StepFormat | None = None,
        optimizer: OptimizerFactory = lambda params: AdamW(params, lr=1e-6, weight_decay=0.0),
        scheduler: SchedulerFactory | None = CosineWithWarmup,
        dtype: Dtype = "float32",
        attn_implementation: Attention = "auto",
        loss: Loss = "two_way",
        weighting: Weighting = "steps",
        gradient_checkpointing: bool = False,
        lora: LoRA | None = None,
        compile: bool = False,  # noqa: A002 (the name of the option)
        score_max_tokens: int = 4096,
        score_row_tokens: int | None = None,
        score_packing: Packing = "trees",
        score_eta: Eta = 0.0,
        calibration: str | None = None,
    ) -> None:
        """Notes the settings; weights are loaded by :meth:`configure_model`.

        Args:
            backbone: folder or hub id of a causal language model.
            tokenizer: folder or hub id of its tokenizer; by default ``backbone``.
            gguf_file: name of a GGUF file in the folder, for backbone and tokenizer.
            step_format: layout of steps as tokens: its fields, the name of a preset, or the import path of a
                :class:`~erprm.steps.StepFormat`. By default the one saved with the backbone by
                :meth:`save_pretrained`, else the preset ``er_prm``.
            optimizer: makes the optimizer from the trainable parameters.
            scheduler: makes the learning-rate schedule from the optimizer and the total number of optimizer steps;
                null for a constant learning rate.
            dtype: type of the weights.
            attn_implementation: ``auto``, ``sdpa``, ``eager``, ``flex_attention`` or ``flash_attention_2`` (see
                :mod:`erprm.models.attention.kernels`).
            loss: ``two_way``, ``vocabulary``, ``mse`` or ``beta_binomial`` (see :mod:`erprm.losses`).
            weighting: what counts the same in the mean loss: ``steps``, or ``completions``, so that a step weighs as
                much as it has completions (a graded last step one).
            gradient_checkpointing: recompute the activations of each decoder layer in the backward pass, which saves
                memory.
            lora: train low-rank adapters instead of the weights; by default the weights.
            compile: translate the decoder layers with ``torch.compile``, which takes a C++ compiler and some time at
                the first batch.
            score_max_tokens: tokens of a batch when scoring.
            score_row_tokens: tokens of one of its rows; by default a batch is one row.
            score_packing: ``trees`` reads what solutions of the same question have in common once, ``rows`` does
                without.
            score_eta: attitude of scores to what the model is not sure of, a finite number: below 0 marks uncertain
                steps down, above 0 up; 0 gives P(good). Only for a model trained with ``loss: beta_binomial``.
            calibration: file of ``erprm calibrate`` that turns scores into probabilities, or ``auto`` for
                ``calibration.json`` beside the backbone; by default scores are what the model says. Not with another
                ``score_eta`` than 0.

        Raises:
            ValueError: if the step format is not a known preset or has no label tokens for :meth:`step_logits`, or a
                setting is not one of those it can be.
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
        _check_choices(
            attn_implementation=attn_implementation, loss=loss, weighting=weighting, score_packing=score_packing
        )
        saved = None if step_format is not None else saved_step_format(self.backbone_path)
        given = step_format or self.default_step_format
        self.step_format = saved or (StepFormat.preset(given) if isinstance(given, str) else given)
        self._format_is_given = step_format is not None
        self._format_is_guessed = step_format is None and saved is None
        if self.step_format.positive is None and type(self).step_logits is ProcessRewardModel.step_logits:
            raise ValueError(
                "model.step_format has no label tokens: its labels are the two classes of a head. Give it positive and "
                "negative, or use a model whose step_logits reads such a head"
            )
        self.loss: Loss = loss
        self.weighting: Weighting = weighting
        self.score_max_tokens = score_max_tokens
        self.score_row_tokens = score_row_tokens
        self.score_packing: Packing = score_packing
        self.score_eta = _finite_eta(score_eta)
        self.calibration = read_calibration(calibration, self.backbone_path)
        if self.calibration is not None and self.score_eta != 0.0:
            raise ValueError(
                f"model.score_eta is {self.score_eta:g}, and model.calibration is that of P(good), the scores at "
                "score_eta 0: give one of them"
            )
        self.validation_metrics = StepMetrics()
        self._layouts_checked: set[Layout] = set()

    @classmethod
    def from_pretrained(cls, path: str | Path, **settings: Any) -> Self:
        """A model with its weights loaded, in evaluation mode.

        Args:
            path: what :meth:`save_pretrained` wrote: a folder, or ``ORG/NAME`` on the hub.
            settings: other arguments of the class.
        """
        model = cls(str(path), **settings)
        model.configure_model()
        model.refuse_random_weights()
        return model.eval()

    @cached_property
    def step_encoder(self) -> StepEncoder:
        """The step format on the backbone's tokenizer."""
        return self.step_format.bind(load_tokenizer(self.tokenizer_path, self.gguf_file))

    @property
    def backbone_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of :attr:`step_encoder`."""
        return self.step_encoder.tokenizer

    @property
    def learns_new_tokens(self) -> bool:
        """True if the step format has added a tag or a label to the tokenizer."""
        step_format = self.step_encoder.step_format
        added = self.step_encoder.tokenizer.get_added_vocab()
        texts = (step_format.tag, step_format.positive, step_format.negative)
        return step_format.add_tokens and any(text in added for text in texts)

    def step_logits(self, batch: StepBatch) -> Tensor:
        """Logits of the good and the bad label at each scored step of packed rows.

        Returns:
            ``[S, 2]``.
        """
        return self._logits_at_tags(batch, self._label_tokens)

    def backbone_inputs(self, batch: StepBatch) -> dict[str, Any]:
        """The arguments of the backbone's forward under which no solution of a batch sees another.

        For a :meth:`step_logits` of your own; see :mod:`erprm.models.attention.kernels`.
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
        if self.loss == "beta_binomial":
            return logits_S2, beta_binomial_losses(logits_S2, batch.labels, *_counts(batch, "model.loss").unbind(-1))
        return logits_S2, step_losses(logits_S2, batch.labels, self.loss)

    @property
    def counted_for(self) -> CountedFor | None:
        """The setting that needs the completions of each step counted, which the data module then does."""
        if self.loss == "beta_binomial":
            return "model.loss"
        return "model.weighting" if self.weighting == "completions" else None

    def _weights(self, batch: StepBatch) -> Tensor | None:
        """How often the loss of each scored step counts ``[S]``; ``None``: once."""
        return _counts(batch, "model.weighting")[:, 1] if self.weighting == "completions" else None

    def forward(self, batch: StepBatch) -> Tensor:
        """Scores of the steps of packed rows ``[S]``, in float32: P(good) at each tag, seen with ``score_eta``."""
        self._check_layout(batch.layout)
        return self._scores(self.step_logits(batch))

    def _scores(self, logits_S2: Tensor) -> Tensor:
        """Scores from the logits of :meth:`step_logits`.

        Raises:
            ValueError: if ``score_eta`` is not 0, and nothing has trained how sure the model is.
        """
        if self.score_eta == 0.0:
            return logits_S2.float().softmax(-1)[:, 0]
        refuse_untrained_belief(self.score_eta, trained_loss(self.backbone), self.backbone_path)
        alpha_S, beta_S = step_beliefs(logits_S2.detach().cpu())
        return belief_reward(alpha_S, beta_S, self.score_eta).to(logits_S2.device, torch.float32)

    def _check_layout(self, layout: Layout) -> None:
        """Makes sure, once for each layout, that the backbone keeps the solutions of such rows apart."""
        if layout not in self._layouts_checked:
            check_layout(self, layout)
            self._layouts_checked.add(layout)

    def training_step(self, batch: StepBatch, batch_idx: int) -> Tensor:
        """Loss of one packed batch."""
        loss, mean = self.mean_loss(self.logits_and_losses(batch)[1], self._weights(batch))
        self.log("train/loss", mean, prog_bar=True)
        return loss

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Gathers the loss and the step metrics."""
        self._evaluate(batch)

    def test_step(self, batch: StepBatch | None, batch_idx: int) -> None:
        """Gathers the loss and the step metrics, if there are records to test on and not only callbacks."""
        if batch is not None:
            self._evaluate(batch)

    def _evaluate(self, batch: StepBatch) -> None:
        logits_S2, losses_S = self.logits_and_losses(batch)
        scores_S, weights_S = self._scores(logits_S2), self._weights(batch)
        self.validation_metrics.update(scores_S, batch.labels, losses_S, batch.problem, weights_S)

    def on_validation_epoch_end(self) -> None:
        """Logs ``val/loss``, ``val/accuracy``, ``val/auroc``, ... (see :class:`StepMetrics`)."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Logs the same under ``test/``."""
        if self.validation_metrics.loss.update_called:
            self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        metrics = {f"{stage}/{name}": value for name, value in self.validation_metrics.compute().items()}
        # The same on every process; said so that Lightning does not warn.
        self.log_dict(metrics, sync_dist=True)
        self.validation_metrics.reset()

    def predict_step(self, batch: Sequence[SolutionRow], batch_idx: int) -> list[Tensor]:
        """Step scores of the solutions of some rows."""
        return self.score_steps([entry.solution for entry in batch])

    @torch.no_grad()
    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        """Scores every step of every solution, packed.

        Args:
            solutions: questions with steps.

        Returns:
            For each solution P(good) of its steps ``[steps]``, seen with ``score_eta`` or calibrated, if that is set;
            float32, on the CPU.

        Raises:
            StepFormatError: if a solution cannot be laid out.
            ValueError: if a solution is longer than the backbone's context, or ``score_eta`` is not 0 and nothing has
                trained how sure the model is.
            ScorerError: if the calibration is that of another model.
        """
        encoded = self.step_encoder.encode_batch(solutions)
        for place, length in self._too_long(encoded).items():
            raise InputError(
                f"the solution of {solutions[place].question[:60]!r} has {length} tokens; "
                f"the backbone reads {self._context}"
            )
        packs = scoring_packs(
            solutions,
            encoded,
            packing=self.score_packing,
            max_tokens=self.score_max_tokens,
            row_tokens=self.score_row_tokens,
        )
        scores: list[Tensor] = [torch.empty(0)] * len(solutions)
        for members, shared in packs:
            batch = pack_solutions(
                [encoded[i].input_ids for i in members],
                [encoded[i].tag_positions for i in members],
                row_tokens=self.score_row_tokens,
                shared=shared,
            )
            scores_S = self(self.transfer_batch_to_device(batch, self.device, 0)).cpu()
            for i, part in zip(members, scores_S.split([len(encoded[i].tag_positions) for i in members]), strict=True):
                scores[i] = part
            tell_scored(len(members))
        # Where weights are sharded, other processes may have more to score, and need this one's part of the weights.
        for _ in range(len(packs), forwards_of_every_process(self, len(packs))):
            self(self.transfer_batch_to_device(pack_solutions([[0]], [[0]]), self.device, 0))
        return calibrated(scores, self)

    @property
    def _context(self) -> float:
        """The most tokens that the backbone reads."""
        assert self.backbone is not None, "configure_model has not been called"
        return getattr(self.backbone.config, "max_position_embeddings", None) or math.inf

    def too_long(self, solutions: Sequence[Solution]) -> dict[int, int]:
        """The solutions that :meth:`score_steps` would refuse as longer than the backbone's context.

        Args:
            solutions: questions with steps.

        Returns:
            The number of tokens of each, by its place.
        """
        return {} if self._context == math.inf else self._too_long(self.step_encoder.encode_batch(solutions))

    def _too_long(self, encoded: Sequence[EncodedSolution]) -> dict[int, int]:
        lengths = enumerate(len(each.input_ids) for each in encoded)
        return {place: length for place, length in lengths if length > self._context}

    def on_fit_start(self) -> None:
        """Makes sure that the backbone can read every solution of the data.

        Raises:
            ValueError: if one is longer than the backbone's context; names its record. Or if there is a calibration.
        """
        self._refuse_calibration("training changes the weights")
        super().on_fit_start()
        self._format_is_guessed = False  # It is learned now.
        if self.backbone is not None:
            note_loss(self.backbone, self.loss)
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        for part in (getattr(datamodule, name, None) for name in ("train_set", "validation_set")):
            if isinstance(part, PackedSteps) and part.lengths.max() > self._context:
                (record,) = part.record_ids([int(part.lengths.argmax())])
                raise ValueError(
                    f"{record} has {part.lengths.max()} tokens, but the backbone reads {self._context}: "
                    "set data.max_length to at most that"
                )

    def on_test_start(self) -> None:
        """Refuses a backbone of which nothing says how its steps are laid out.

        Raises:
            BackboneError: if the module has random weights beside it.
            StepFormatError: if the step format was not given, is not saved with the backbone, and neither training nor
                a checkpoint has brought it.
        """
        if self._format_is_guessed:
            raise StepFormatError(
                f"{self.backbone_path!r} holds no {STEP_FORMAT_FILE}, so nothing says how it reads steps, or that it "
                "is a process reward model at all. Give model.step_format (such as er_prm) or a checkpoint "
                "(--ckpt_path), or use erprm.models.AdaptedRewardModel for what other projects have published"
            )
        super().on_test_start()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a plain Hugging Face folder: weights as safetensors, tokenizer, and the step format.

        ``config.json`` also says which loss the model was trained with.

        Adapters are merged into the weights. If weights are sharded, all processes call this, and the first one writes.
        ``AutoModelForCausalLM`` loads it as it is; :meth:`from_pretrained` also finds the step format.
        """
        with self.whole_export(Path(folder)) as files:
            if self.write_backbone(files):
                self.step_encoder.tokenizer.save_pretrained(files)
                write_json(self.step_encoder.step_format.to_dict(), files / STEP_FORMAT_FILE)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores the step format and the loss beside the weights."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["step_format"] = self.step_encoder.step_format.to_dict()
        checkpoint[LOSS_KEY] = trained_loss(self.backbone)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the step format of the checkpoint outside of a trainer, if none was given; refuses another one.

        Raises:
            ResumeError: naming the fields that differ, with both values, unless the data module says ``allow_change``.
            ValueError: if there is a calibration.
        """
        self._refuse_calibration("a checkpoint brings other weights (erprm export makes a folder of it)")
        saved = StepFormat.from_dict(checkpoint["step_format"]) if "step_format" in checkpoint else None
        if saved is not None and self._trainer is None and not self._format_is_given:
            self._change_step_format(saved)
        super().on_load_checkpoint(checkpoint)
        self._format_is_guessed = False
        is_fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if self.backbone is not None and not is_fitting:
            note_loss(self.backbone, checkpoint.get(LOSS_KEY))
        datamodule = self._trainer.datamodule if self._trainer is not None else None  # type: ignore[attr-defined]
        if saved is not None:
            own = self.step_encoder.step_format
            if saved.chat_date is None:
                own = replace(own, chat_date=None)  # A checkpoint of an earlier release does not know its date.
            then, now = (
                {f"step_format.{name}": value for name, value in step_format.to_dict().items()}
                for step_format in (saved, own)
            )
            check_unchanged(then, now, allow_change=getattr(datamodule, "allow_change", False))

    def _refuse_calibration(self, why: str) -> None:
        if self.calibration is not None:
            raise InputError(f"model.calibration is that of the weights in {self.backbone_path!r}, and {why}")

    def _change_step_format(self, step_format: StepFormat) -> None:
        self.step_format = step_format
        self.__dict__.pop("step_encoder", None)
        if self.backbone is not None:
            fit_embeddings(self.backbone, self.backbone_tokenizer)
            if self.lora is not None and self.learns_new_tokens:
                for weight in embedding_weights(self.backbone):
                    weight.requires_grad_(True)


def _check_choices(**settings: str) -> None:
    choices = {
        "attn_implementation": ATTENTIONS,
        "loss": LOSSES,
        "weighting": get_args(Weighting),
        "score_packing": PACKINGS,
    }
    for name, value in settings.items():
        if value not in choices[name]:
            raise ValueError(f"model.{name} is {value!r}; it must be one of {', '.join(choices[name])}")


def _finite_eta(eta: Eta) -> float:
    value = read_eta(eta, "model.score_eta")
    if math.isinf(value):
        raise ValueError(f"model.score_eta is {eta}; it must be finite, since there all steps score alike")
    return value


def _counts(batch: StepBatch, needed_for: CountedFor) -> Tensor:
    if batch.counts is None:
        raise FailedRunError(
            f"{needed_for} needs counts of completions, and the batches have none: the data module has to give them "
            "(see erprm.data.packing.StepBatch)"
        )
    return batch.counts
