"""Settings of a run, and what becomes of them in TRL's."""

from pathlib import Path
from typing import Any

import pytest

from erprm.grpo import GrpoConfig
from erprm.grpo.trainer_settings import plan, trainer_arguments

pytest.importorskip("trl", reason="needs TRL: pip install 'erprm[grpo]'")


def config(**changes: Any) -> GrpoConfig:
    return GrpoConfig("policy", "run", "prm", **{"generations": 4, "device": "cpu", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generations": 1}, "generations is 1; it must be at least 2"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"evaluate_every": 0}, "evaluate_every is 0; it must be at least 1"),
        ({"epochs": 0.0}, "epochs is 0.0; it must be a finite number above 0"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"beta": -0.1}, "beta is -0.1; it must be a finite number, at least 0"),
        ({"process_weight": 0.0, "outcome_weight": 0.0}, "process_weight and outcome_weight are both 0"),
        ({"correct_threshold": 0.0}, "correct_threshold is 0.0; it must be above 0 and at most 1"),
        ({"form": "max"}, "form is 'max'; it must be one of sum, min, difference"),
        ({"style": "words"}, "style is 'words'"),
        ({"grading": "maths"}, "grading: got 'maths'"),
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"max_step": 3}, r"trainer.max_step is no key of TRL's GRPOConfig; did you mean 'max_steps'\?"),
        ({"max_steps": 3}, "trainer.max_steps is set by the key steps; leave it out"),
        ({"use_vllm": True}, "trainer.use_vllm is set by the key generation; leave it out"),
        ({"save_strategy": "no"}, "trainer.save_strategy cannot be set: a run is resumed from its checkpoints"),
        ({"use_liger_kernel": True}, "trainer.use_liger_kernel cannot be set: Liger's loss takes one advantage"),
        (
            {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2},
            "trainer.per_device_train_batch_size is 3, gradient_accumulation_steps 2 and steps_per_generation None; "
            "the completions of a batch must be a multiple of generations, 4",
        ),
        ({"generation_batch_size": 6}, "trainer.generation_batch_size is 6; the completions of a batch must be"),
        ({"lr_scheduler_type": "sideways"}, "trainer: sideways is not a valid SchedulerType"),
        ({"per_device_train_batch_size": "many"}, "trainer: "),
    ],
)
def test_a_key_of_the_trainer_that_cannot_be_set_is_refused(
    trainer: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        trainer_arguments(config(trainer=trainer), tmp_path)


def test_keys_of_the_trainer_reach_it(tmp_path: Path) -> None:
    arguments = trainer_arguments(config(trainer={"top_p": 0.9, "save_steps": 7}, beta=0.1, max_tokens=33), tmp_path)
    assert (arguments.top_p, arguments.save_steps, arguments.beta, arguments.max_completion_length) == (0.9, 7, 0.1, 33)
    assert (arguments.num_generations, arguments.bf16, arguments.use_cpu, arguments.use_vllm) == (4, False, True, False)


@pytest.mark.parametrize(
    ("changes", "trainer", "expected"),
    [
        # 8 completions a batch, 4 a prompt: 2 prompts a step. 1.5 epochs of 10 problems are 15 prompts, 7 steps.
        ({"epochs": 1.5}, {}, (7, 14)),
        ({"steps": 5}, {}, (5, 10)),
        # Two backward passes a step: 4 prompts.
        ({"steps": 5}, {"gradient_accumulation_steps": 2}, (5, 20)),
        ({"epochs": 1}, {"gradient_accumulation_steps": 2}, (2, 8)),
        # Each batch is learned from twice: 5 steps take 3 batches of 2 prompts.
        ({"steps": 5}, {"num_iterations": 2}, (5, 6)),
        ({"epochs": 1}, {"num_iterations": 2}, (10, 10)),
        # Completions of 4 steps at a time, 8 prompts: 2 such batches.
        ({"steps": 5}, {"steps_per_generation": 4}, (5, 16)),
    ],
)
def test_the_number_of_steps_and_of_prompts(
    changes: dict[str, Any], trainer: dict[str, Any], expected: tuple[int, int], tmp_path: Path
) -> None:
    run = config(trainer={"per_device_train_batch_size": 8, **trainer}, **changes)
    assert plan(run, trainer_arguments(run, tmp_path), problems=10) == expected
