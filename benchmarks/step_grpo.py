"""GRPO in the demo's world with each form of step advantages: accuracy, steps and score of the policy after training.

    python benchmarks/step_grpo.py demo                             # a folder that `erprm demo` has filled
    python benchmarks/step_grpo.py demo --labels er soft --seeds 3 --steps 60 --output runs/step_grpo

``outcome`` is TRL's GRPOTrainer with a check of the answer; ``min of scores`` is the same with the lowest step score as
the reward of a completion; the others are StepGRPOTrainer, with step advantages alone or with those of ``outcome``. All
generate the same number of completions. A finished run is not done again. Printed is a Markdown table: means over
held-out problems and seeds, and in parentheses those of each seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from erprm.data.sources import load_problems
from erprm.engines.base import Sampling
from erprm.engines.prompts import PromptFormat
from erprm.engines.transformers import TransformersEngine
from erprm.grading import Grader
from erprm.reward_fn import ProcessReward
from erprm.reward_fn.trl import StepGRPOTrainer
from erprm.rollout.pools import sample_pool
from erprm.runs.atomic import write_json
from erprm.steps import split_steps

PROMPT = PromptFormat("{question}\n")
FORMS = ("outcome", "min of scores", "sum", "min", "difference", "min + outcome")
MEASURES = {"greedy": "greedy, %", "pass_at_1": "pass@1, %", "steps": "steps", "score": "mean score, %"}


def train(demo: Path, labels: str, form: str, seed: int, options: argparse.Namespace, folder: Path) -> Path:
    """Trains the demo's policy."""
    rows = load_problems("jsonl", str(demo / "problems/train.jsonl"))
    data = Dataset.from_list(
        [{"prompt": f"{row.question}\n", "question": row.question, "gold": row.answer} for row in rows]
    )
    reward = ProcessReward(demo / f"reward_model_{labels}", step_style="lines", question_column="question")
    grader = Grader()

    def right(completions: Sequence[str], gold: Sequence[str], **_: Any) -> list[float]:
        return [float(each) for each in grader.grade_batch(list(zip(completions, gold, strict=True)), "gsm8k")]

    arguments = {
        "model": str(demo / "policy"),
        "processing_class": AutoTokenizer.from_pretrained(demo / "policy", padding_side="left"),
        "train_dataset": data,
        "args": GRPOConfig(
            output_dir=str(folder / "trainer"),
            per_device_train_batch_size=128,
            num_generations=8,
            max_completion_length=64,
            max_steps=options.steps,
            learning_rate=options.learning_rate,
            lr_scheduler_type="constant",
            seed=seed,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        ),
    }
    if form == "outcome":
        trainer = GRPOTrainer(reward_funcs=right, **arguments)
    elif form == "min of scores":
        trainer = GRPOTrainer(reward_funcs=reward, **arguments)
    else:
        step_form, _, outcome = form.partition(" + ")
        trainer = StepGRPOTrainer(
            process_reward=reward, form=step_form, reward_funcs=right if outcome else None, **arguments
        )
    trainer.train()
    trainer.save_model(str(folder / "policy"))
    return folder / "policy"


def evaluate(demo: Path, labels: str, policy: Path) -> dict[str, float]:
    """Accuracy, steps and score of a policy on the held-out problems."""
    problems = load_problems("jsonl", str(demo / "problems/test.jsonl"))
    reward = ProcessReward(demo / f"reward_model_{labels}", step_style="lines")
    grader = Grader()
    measured: dict[str, float] = {}
    with closing(TransformersEngine(str(policy), batch_size=512, device="cpu")) as engine:
        for name, sampling in (
            ("greedy", Sampling(1, temperature=0.0, max_tokens=64)),
            ("pass_at_1", Sampling(4, max_tokens=64, seed=0)),
        ):
            pool = sample_pool(engine, problems, PROMPT, sampling)
            texts = [(entry.problem, text) for entry in pool for text in entry.candidates]
            graded = grader.grade_batch([(text, problem.answer) for problem, text in texts], "gsm8k")
            measured[name] = 100 * sum(graded) / len(graded)
    measured["steps"] = sum(len(split_steps(text, "lines")) for _, text in texts) / len(texts)
    scores = reward([problem.question for problem, _ in texts], [text for _, text in texts])
    measured["score"] = 100 * sum(scores) / len(scores)
    return measured


def measured_run(demo: Path, labels: str, form: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """The measures of one run, which is done if it was not done before."""
    folder = options.output / f"{demo.name}-{labels}-{form.replace(' ', '_')}-{seed}"
    file = folder / "measured.json"
    if not file.exists():
        write_json(evaluate(demo, labels, train(demo, labels, form, seed, options, folder)), file)
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--labels", nargs="+", default=["er"])
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--output", type=Path, default=Path("runs/step_grpo"))
    options = parser.parse_args()
    initial = evaluate(options.demo, options.labels[0], options.demo / "policy")
    print("| advantages | " + " | ".join(MEASURES.values()) + " |")
    print("| --- |" + " ---: |" * len(MEASURES))
    print("| initial policy | " + " | ".join(f"{initial[measure]:.1f}" for measure in MEASURES) + " |", flush=True)
    for labels in options.labels:
        for form in options.forms:
            runs = [measured_run(options.demo, labels, form, seed, options) for seed in range(options.seeds)]
            cells = []
            for measure in MEASURES:
                values = [run[measure] for run in runs]
                cells.append(f"{sum(values) / len(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})")
            name = form if form == "outcome" else f"{form}, {labels}"
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
