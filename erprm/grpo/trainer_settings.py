"""The settings of TRL's trainer, from those of the run: checked before any weights are loaded."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from erprm.engines.registry import require_package
from erprm.errors import InputError
from erprm.grpo.config import GrpoConfig
from erprm.lookup import did_you_mean
from erprm.models.scorers.opening import device_named

if TYPE_CHECKING:
    from trl import GRPOConfig

# Keys of GRPOConfig that are set by a key of the run, and those that the run decides.
_SET_BY = {
    "output_dir": "output_dir",
    "num_generations": "generations",
    "max_completion_length": "max_tokens",
    "temperature": "temperature",
    "learning_rate": "learning_rate",
    "beta": "beta",
    "max_steps": "steps",
    "num_train_epochs": "epochs",
    "seed": "seed",
    "use_vllm": "generation",
    "use_cpu": "device",
    "model_init_kwargs": "dtype",
    "eval_strategy": "evaluate_every",
    "eval_steps": "evaluate_every",
}
_DECIDED = {
    "shuffle_dataset": "problems are shuffled anew in each epoch, by the seed",
    "remove_unused_columns": "rewards need the columns",
    "save_strategy": "a run is resumed from its checkpoints (save_steps says how often there is one)",
    "save_only_model": "a run is resumed from its checkpoints",
    "ignore_data_skip": "a run is resumed where it was",
    "load_best_model_at_end": "the last policy is written",
    "use_liger_kernel": "Liger's loss takes one advantage a completion, not one a token",
}


def check_machine(config: GrpoConfig) -> None:
    """Refuses what is not here: packages, a GPU for vLLM, and one process.

    Raises:
        UsageError: if TRL is of another release than the trainer is made for.
        ImportError: if TRL, peft or vLLM is needed and not installed.
        ValueError: if there is no GPU for vLLM, or there are several GPUs or processes.
    """
    require_package("trl")
    from erprm.reward_fn.trl import check_trl

    check_trl()
    if config.lora is not None:
        require_package("peft")
    device = device_named(config.device)
    if config.generation == "vllm":
        if device.type != "cuda":
            raise InputError(
                f"generation is 'vllm', which here needs a GPU, and device {config.device!r} is {device.type!r}; "
                "set generation to transformers"
            )
        require_package("vllm")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "this command trains in one process; for several, use erprm.reward_fn.trl.StepGRPOTrainer from Python"
        )
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        raise InputError(
            f"there are {torch.cuda.device_count()} GPUs, and this command trains on one; choose it by "
            "CUDA_VISIBLE_DEVICES"
        )


def trainer_arguments(config: GrpoConfig, folder: Path) -> GRPOConfig:
    """The arguments of TRL's trainer, but for ``max_steps``.

    Raises:
        ValueError: if a key of ``trainer`` is unknown or is not set there, or the values are not accepted.
    """
    from trl import GRPOConfig

    fields = {field.name: field for field in dataclasses.fields(GRPOConfig) if field.init}
    for key in config.trainer:
        if key in _SET_BY:
            raise InputError(f"trainer.{key} is set by the key {_SET_BY[key]}; leave it out")
        if key in _DECIDED:
            raise InputError(f"trainer.{key} cannot be set: {_DECIDED[key]}")
        if key not in fields:
            raise InputError(f"trainer.{key} is no key of TRL's GRPOConfig{did_you_mean(key, fields)}")
    on_cpu = device_named(config.device).type == "cpu"
    arguments = {
        "report_to": "none",
        "disable_tqdm": True,
        "save_total_limit": 1,
        "save_steps": config.evaluate_every,
        "bf16": False if on_cpu else fields["bf16"].default,
        **config.trainer,
        "output_dir": str(folder),
        "num_generations": config.generations,
        "max_completion_length": config.max_tokens,
        "temperature": config.temperature,
        "learning_rate": config.learning_rate,
        "beta": config.beta,
        "seed": config.seed,
        "use_vllm": config.generation == "vllm",
        "use_cpu": on_cpu,
        "save_strategy": "steps",
        "shuffle_dataset": False,
    }
    _check_batch(config, {name: arguments.get(name, field.default) for name, field in fields.items()})
    try:
        return GRPOConfig(**arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise InputError(f"trainer: {error}") from error


def _check_batch(config: GrpoConfig, values: dict[str, Any]) -> None:
    size = values["generation_batch_size"]
    per_device, accumulation = values["per_device_train_batch_size"], values["gradient_accumulation_steps"]
    try:
        divides = (size or per_device * (values["steps_per_generation"] or accumulation)) % config.generations == 0
    except TypeError:
        return  # no number: TRL says so
    if not divides:
        given = (
            f"trainer.generation_batch_size is {size}"
            if size
            else (
                f"trainer.per_device_train_batch_size is {per_device}, gradient_accumulation_steps {accumulation} and "
                f"steps_per_generation {values['steps_per_generation']}"
            )
        )
        raise InputError(f"{given}; the completions of a batch must be a multiple of generations, {config.generations}")


def plan(config: GrpoConfig, arguments: GRPOConfig, problems: int) -> tuple[int, int]:
    """The number of optimizer steps, and of prompts that they take; a prompt has ``generations`` completions.

    Raises:
        ValueError: if the problems of all epochs are fewer than those of one batch.
    """
    prompts = arguments.generation_batch_size // config.generations
    # A batch of completions is learned from in so many backward passes.
    passes = arguments.steps_per_generation * arguments.num_iterations
    if config.steps is not None:
        batches = math.ceil(config.steps * arguments.gradient_accumulation_steps / passes)
        return config.steps, batches * prompts
    batches = int(config.epochs * problems) // prompts
    steps = batches * passes // arguments.gradient_accumulation_steps
    if not steps:
        raise InputError(
            f"{config.epochs:g} epoch(s) of {problems} problem(s) are no optimizer step, which takes {prompts} prompts "
            "or more; give more problems or epochs, set steps, or make trainer.per_device_train_batch_size smaller"
        )
    return steps, batches * prompts
