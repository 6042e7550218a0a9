"""TRL 1.13.0's own PRMTrainer: a token classifier with two outputs, rows padded to the longest of 8.

    python trl_prm.py FOLDER --batch 64 --steps 2

Runs in an environment of its own, without erprm.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from datasets import Dataset
from measure import Clock
from transformers import AutoModelForTokenClassification, AutoTokenizer, TrainerCallback
from trl.experimental.prm import PRMConfig, PRMTrainer

PER_FORWARD = 8


class StepClock(TrainerCallback):
    """Starts the clock after the first optimizer step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Ends the warm-up."""
        if state.global_step == 1:
            self.clock.start()


def main() -> None:
    """Trains and prints what was measured."""
    clock = Clock()
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    settings = json.loads((arguments.folder / "settings.json").read_text(encoding="utf-8"))
    solutions = json.loads((arguments.folder / "solutions.json").read_text(encoding="utf-8"))
    solutions = solutions[: arguments.batch * (1 + arguments.steps)]
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder / "model")
    model = AutoModelForTokenClassification.from_pretrained(
        arguments.folder / "model", num_labels=2, attn_implementation="sdpa", dtype="float32"
    )
    # TRL casts labels to integers, so that soft labels would all become 0.
    rows = [
        {"prompt": s["question"], "completions": s["steps"], "labels": [label >= 0.5 for label in s["labels"]]}
        for s in solutions
    ]
    config = PRMConfig(
        output_dir=str(arguments.folder / "trl"),
        per_device_train_batch_size=PER_FORWARD,
        gradient_accumulation_steps=arguments.batch // PER_FORWARD,
        max_steps=1 + arguments.steps,
        max_length=512,
        max_completion_length=None,
        learning_rate=settings["lr"],
        optim="adamw_torch_fused",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = PRMTrainer(
        model=model,
        args=config,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        callbacks=[StepClock(clock)],
    )
    compute_loss = trainer.compute_loss

    def counted(model, inputs, *args, **kwargs):
        clock.work.add_whole(inputs["attention_mask"].sum(1).tolist())
        return compute_loss(model, inputs, *args, **kwargs)

    trainer.compute_loss = counted
    trainer.train()
    clock.report()


if __name__ == "__main__":
    main()
