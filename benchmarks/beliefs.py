"""The loss ``beta_binomial`` in the demo's world: the accuracy of its mean and of beliefs, and what its intervals hold.

    erprm demo --output_dir demo
    python benchmarks/beliefs.py demo --seeds 5 --output runs/beliefs

With each seed two reward models are trained on the demo's rollouts with soft labels, one with ``two_way`` and one with
``beta_binomial``. Printed are best-of-n on the demo's pool (lowest step score), as differences from ``two_way`` of the
same seed with 95% intervals over seeds (Student's t), with ``score_eta`` at 0 and at others; and the share of step
prefixes of unseen problems whose exact success probability, by enumeration, is in the belief's central 90%. A finished
training is not done again.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from exact_labels import success_after
from torch import Tensor

from erprm.data import ProcessRewardDataModule
from erprm.data.packing import pack_solutions
from erprm.data.pools import GradedPool, grade_pool, read_pool
from erprm.demo.dial.world import DialWorld
from erprm.engines.model_files import load_tokenizer
from erprm.losses import Loss, step_beliefs
from erprm.metrics import best_of_n_curves
from erprm.metrics.functional.resampling import student_t_interval
from erprm.models import ProcessRewardModel
from erprm.models.backbone.loading import load_causal_lm
from erprm.steps import Solution

LOSSES: tuple[Loss, ...] = ("two_way", "beta_binomial")
NS = (4, 16, 64)
SCORE_ETAS = (0.0, 5.0, -5.0)
_DRAWS = 4000


def train(demo: Path, loss: Loss, seed: int, output: Path) -> Path:
    """The folder of a reward model, trained as the demo's are, if it is not there yet."""
    folder = output / f"{loss}_{seed}"
    if (folder / "config.json").exists():
        return folder
    world = DialWorld()
    L.seed_everything(seed, verbose=False)
    model = ProcessRewardModel(
        str(demo / "base_model"),
        loss=loss,
        step_format=world.step_format,
        score_max_tokens=world.sizes.score_tokens,
        score_row_tokens=world.sizes.row_tokens,
        **world.optimization(world.recipe.prm_learning_rate),
    )
    data = ProcessRewardDataModule(
        str(demo / "rollouts"),
        labels="soft",
        max_tokens=world.sizes.batch_tokens,
        row_tokens=world.sizes.row_tokens,
        max_length=world.sizes.row_tokens,
        cache_dir=str(output / "cache"),
        seed=seed,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=world.recipe.prm_epochs,
        gradient_clip_val=1.0,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, datamodule=data)
    model.save_pretrained(folder)
    return folder


def best_of_n(model: ProcessRewardModel, pool: GradedPool) -> Tensor:
    """Accuracy of the best-scored of n candidates for each of ``NS``; those of the same text are scored once."""
    keys = [(solution.question, *solution.steps) for solution in pool.solutions]
    different = dict(zip(keys, pool.solutions, strict=True))
    score_of = dict(zip(different, model.score_steps(list(different.values())), strict=True))
    scores = [float(score_of[key].min()) for key in keys]
    curves_PN = best_of_n_curves(torch.tensor(scores).view(pool.correct_PN.shape), pool.correct_PN, pool.valid_PN)
    return curves_PN.mean(0)[[n - 1 for n in NS]]


@dataclass(frozen=True)
class ExactStep:
    """A step of an unseen solution, and the exact success probability after it."""

    solution: Solution
    step: int
    probability: float


def exact_steps(demo: Path, pool: GradedPool, count: int) -> list[ExactStep]:
    """Steps drawn at random from the pool, none of them a last one."""
    policy, tokenizer = load_causal_lm(str(demo / "policy")).eval(), load_tokenizer(str(demo / "policy"))
    answers = [entry.problem.answer for entry in read_pool(demo / "pool" / "pool.jsonl")]
    per_problem = pool.correct_PN.shape[1]
    draw = random.Random(0)
    steps: list[ExactStep] = []
    while len(steps) < count:
        place = draw.randrange(len(pool.solutions))
        solution, answer = pool.solutions[place], answers[place // per_problem]
        if len(solution.steps) < 2:
            continue
        step = draw.randrange(len(solution.steps) - 1)
        bounds = success_after(policy, tokenizer, solution, step, answer, threshold=1e-4)
        steps.append(ExactStep(solution, step, (bounds.low + bounds.high) / 2))
    return steps


def covered(model: ProcessRewardModel, steps: list[ExactStep]) -> tuple[float, float]:
    """Share of the exact probabilities in the central 90% of the model's beliefs, and the mean width of those."""
    inside, widths = 0, 0.0
    torch.manual_seed(0)
    for exact in steps:
        (encoded,) = model.step_encoder.encode_batch([exact.solution])
        with torch.no_grad():
            logits_S2 = model.step_logits(pack_solutions([encoded.input_ids], [encoded.tag_positions]))
        alpha, beta = (parameter_S[exact.step] for parameter_S in step_beliefs(logits_S2))
        drawn = torch.distributions.Beta(alpha, beta).sample((_DRAWS,))
        low, high = drawn.quantile(torch.tensor([0.05, 0.95]))
        inside += bool(low <= exact.probability <= high)
        widths += float(high - low)
    return inside / len(steps), widths / len(steps)


def _with_interval(values: Tensor) -> str:
    low, high = student_t_interval(values)
    return f"{100 * float(values.mean()):.1f} [{100 * float(low):.1f}, {100 * float(high):.1f}]"


def main() -> None:
    """Trains what is missing, and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prefixes", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/beliefs"))
    options = parser.parse_args()
    pool = grade_pool(read_pool(options.demo / "pool" / "pool.jsonl"), "gsm8k", "lines")
    steps = exact_steps(options.demo, pool, options.prefixes)
    accuracies: dict[str, list[Tensor]] = {"two_way": []}
    coverages = []
    for seed in range(options.seeds):
        folders = {loss: train(options.demo, loss, seed, options.output) for loss in LOSSES}
        accuracies["two_way"].append(best_of_n(ProcessRewardModel.from_pretrained(folders["two_way"]), pool))
        for eta in SCORE_ETAS:
            model = ProcessRewardModel.from_pretrained(folders["beta_binomial"], score_eta=eta)
            accuracies.setdefault(f"beta_binomial, score_eta {eta:g}", []).append(best_of_n(model, pool))
        coverages.append(covered(ProcessRewardModel.from_pretrained(folders["beta_binomial"]), steps))
    base_SN = torch.stack(accuracies["two_way"])
    print("| loss | " + " | ".join(f"n = {n}" for n in NS) + " |\n| --- |" + " ---: |" * len(NS))
    print("| two_way, % | " + " | ".join(_with_interval(base_SN[:, i]) for i in range(len(NS))) + " |")
    for name, of_seeds in accuracies.items():
        if name != "two_way":
            cells = [_with_interval(torch.stack(of_seeds)[:, i] - base_SN[:, i]) for i in range(len(NS))]
            print(f"| {name}, points | " + " | ".join(cells) + " |")
    shares, widths = (torch.tensor(each, dtype=torch.float64) for each in zip(*coverages, strict=True))
    print(f"\nexact probabilities inside the central 90%, of {len(steps)} steps: {_with_interval(shares)}%")
    print(f"mean width of the central 90%: {float(widths.mean()):.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
