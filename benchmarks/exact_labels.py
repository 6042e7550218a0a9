"""Checks the labels of a demo's rollouts, and the scores of its reward models, against exact values.

    erprm demo --output_dir demo
    python benchmarks/exact_labels.py demo --prefixes 60

For step prefixes drawn at random, the policy's success probability is computed by enumeration (erprm.demo.exact), and
with it the true R_eta. Printed are: how far the sampled success rates are from the exact ones in units of their
binomial standard error (a mean square of 1 is what honest sampling gives), the error of the ER labels, and the error of
the scores of each reward model.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from typing import Any

import torch

from erprm.data.labels import step_labels
from erprm.data.records import RolloutRecord, read_records
from erprm.demo.exact import Bounds, exact_reward, success_probability
from erprm.demo.stages import LABEL_METHODS, PROMPT
from erprm.engines.model_files import load_tokenizer
from erprm.grading import grade
from erprm.models import ProcessRewardModel
from erprm.models.backbone.loading import load_causal_lm
from erprm.runs.folder import read_sealed
from erprm.steps import Solution


def success_after(
    policy: Any, tokenizer: Any, solution: Solution | RolloutRecord, step: int, answer: str, threshold: float
) -> Bounds:
    """Bounds of the policy's success probability after a step of a solution."""
    written = "\n".join(solution.steps[: step + 1])
    return success_probability(
        policy,
        tokenizer(PROMPT.text(solution.question) + written + "\n")["input_ids"],
        lambda tokens: grade(f"{written}\n{tokenizer.decode(tokens)}", answer, "gsm8k"),
        end_id=tokenizer.eos_token_id,
        max_new_tokens=64,
        threshold=threshold,
    )


def main() -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--prefixes", type=int, default=60)
    parser.add_argument("--threshold", type=float, default=1e-4, help="probability to follow completions down to")
    arguments = parser.parse_args()
    folder: Path = arguments.demo
    eta = read_sealed(folder / "manifest.json")["settings"]["eta"]
    policy, tokenizer = load_causal_lm(str(folder / "policy")).eval(), load_tokenizer(str(folder / "policy"))
    records = list(read_records(folder / "rollouts"))
    rng = random.Random(0)

    z_squares, label_errors, widths, chosen, exact = [], [], [], [], []
    while len(exact) < arguments.prefixes:
        record = rng.choice(records)
        if len(record.steps) < 2:
            continue
        step = rng.randrange(len(record.steps) - 1)
        success = success_after(policy, tokenizer, record, step, record.answer, arguments.threshold)
        p = (success.low + success.high) / 2
        rewards = record.rewards[step]
        reward = exact_reward(success, eta)
        if 0.02 < p < 0.98:
            z_squares.append((sum(rewards) / len(rewards) - p) ** 2 / (p * (1 - p) / len(rewards)))
        exact.append((reward.low + reward.high) / 2)
        widths.append(success.high - success.low)
        label_errors.append(step_labels([rewards, [1.0]], "er", eta)[0] - exact[-1])
        chosen.append((Solution(record.question, record.steps), step))

    print(f"{len(exact)} prefixes; bounds of the success probability at most {max(widths):.4f} apart")
    if z_squares:
        mean = sum(z_squares) / len(z_squares)
        print(f"mean squared z of sampled success rates: {mean:.2f} ({len(z_squares)} prefixes)")
    print(f"root-mean-square error of ER labels (eta {eta}): {_rms(label_errors):.3f}")
    for method in LABEL_METHODS:
        model = ProcessRewardModel.from_pretrained(folder / f"reward_model_{method}")
        scores = model.score_steps([solution for solution, _ in chosen])
        errors = [float(score[step]) - value for score, (_, step), value in zip(scores, chosen, exact, strict=True)]
        print(f"root-mean-square error of the scores, {method} labels: {_rms(errors):.3f}")


def _rms(errors: list[float]) -> float:
    return math.sqrt(sum(error * error for error in errors) / len(errors))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
