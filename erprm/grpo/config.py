"""The settings of ``erprm grpo``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from erprm.engines.base import Sampling
from erprm.engines.prompts import PromptFormat
from erprm.grading import check_grading
from erprm.metrics.functional.aggregation import Aggregation, aggregator
from erprm.models import Dtype
from erprm.models.backbone.lora_settings import LoRA
from erprm.raft.config import ProblemSet
from erprm.reward_fn.credit import CreditForm, check_credit_form
from erprm.steps import check_step_style


@dataclass
class GrpoConfig:
    """Trains a policy with GRPO, each step of a solution with an advantage of its own, from a reward model's scores.

    Attributes:
        model: the initial policy: local folder or hub id.
        output_dir: folder of the run; the same settings again continue a run that was interrupted.
        scorer: the process reward model: a folder, hub id or URL, or any class with ``score_steps`` by its
            ``class_path`` and ``init_args``.
        problems: the problems whose solutions the policy learns from.
        held_out: the problems on which the policy is evaluated.
        prompt: how a question becomes a prompt.
        style: how the steps of a solution are separated; see the page on steps.
        grading: how answers are graded, as for ``erprm rollout``.
        correct_threshold: reward from which an answer counts as correct in evaluations.
        form: how the scores of steps become their returns; see the page on GRPO.
        process_weight: of the advantages of steps; at 0, steps are not scored in training, and this is TRL's GRPO.
        outcome_weight: of the advantages of the check of the answer.
        temperature: temperature of the solutions.
        max_tokens: the most tokens of a solution.
        generations: solutions of each problem in a batch.
        epochs: epochs over the problems.
        steps: optimizer steps, in place of ``epochs``.
        learning_rate: that of the first step; ``trainer.lr_scheduler_type`` says how it goes on, by default down to 0.
        beta: weight of the KL divergence from the initial policy in the loss.
        lora: train low-rank adapters instead of the weights; the policy is written with them merged.
        dtype: type of the weights of the policy.
        generation: what samples in training: ``transformers``, or ``vllm`` on a GPU.
        evaluate_every: optimizer steps between two evaluations, and between two checkpoints unless
            ``trainer.save_steps`` says otherwise; the initial policy and the last are evaluated in any case.
        evaluation_samples: solutions of each held-out problem; best-of-n is given up to this n.
        aggregation: score of a solution from those of its steps, in evaluations.
        batch_size: solutions sampled side by side in evaluations.
        trainer: other settings of TRL's ``GRPOConfig``, such as ``per_device_train_batch_size`` or ``top_p``.
        seed: seed of the run.
        device: ``auto`` (the GPU if there is one), ``cuda`` or ``cpu``.
    """

    model: str
    output_dir: str
    scorer: str | dict[str, Any]
    problems: ProblemSet = field(default_factory=ProblemSet)
    held_out: ProblemSet = field(default_factory=lambda: ProblemSet(split="test"))
    prompt: PromptFormat = field(default_factory=PromptFormat)
    style: str = "lines"
    grading: str | dict[str, Any] = "auto"
    correct_threshold: float = 0.5
    form: CreditForm = "min"
    process_weight: float = 1.0
    outcome_weight: float = 1.0
    temperature: float = 1.0
    max_tokens: int = 512
    generations: int = 8
    epochs: float = 1.0
    steps: int | None = None
    learning_rate: float = 1e-6
    beta: float = 0.0
    lora: LoRA | None = None
    dtype: Dtype = "float32"
    generation: Literal["transformers", "vllm"] = "transformers"
    evaluate_every: int = 50
    evaluation_samples: int = 8
    aggregation: Aggregation = "min"
    batch_size: int = 256
    trainer: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name, least in (
            ("generations", 2),
            ("steps", 1),
            ("evaluate_every", 1),
            ("evaluation_samples", 1),
            ("batch_size", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        for name in ("learning_rate", "epochs", "temperature"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a finite number above 0")
        for name in ("process_weight", "outcome_weight", "beta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a finite number, at least 0")
        if not self.process_weight + self.outcome_weight:
            raise ValueError("process_weight and outcome_weight are both 0; then nothing would be learned")
        if not 0.0 < self.correct_threshold <= 1.0:
            raise ValueError(f"correct_threshold is {self.correct_threshold}; it must be above 0 and at most 1")
        check_credit_form(self.form)
        check_step_style(self.style, "style")
        aggregator(self.aggregation)
        check_grading(self.grading, "grading")
        _ = self.evaluation_sampling

    @property
    def evaluation_sampling(self) -> Sampling:
        """Sampling settings of held-out problems.

        All evaluations draw from the same random numbers, so they differ by what the policy has learned and less by
        chance.
        """
        return Sampling(self.evaluation_samples, self.temperature, max_tokens=self.max_tokens, seed=self.seed)
