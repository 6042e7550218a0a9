"""The stages of the demo, each through the package's own parts; a finished stage is not done again.

random model -> base (solves and checks) -> policy (tuned on solutions with mistakes)
|                         |-> rollouts of training problems
|                         '-> pool of candidates of unseen problems
'-> one reward model a label method, trained on the rollouts, evaluated on the pool
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console
from torch.optim import AdamW

from erprm.callbacks import BestOfN
from erprm.data import ProcessRewardDataModule
from erprm.data.labels import LabelMethod
from erprm.data.policy import PolicyDataModule
from erprm.data.pools import write_pool
from erprm.data.sources import load_problems
from erprm.demo.base import BaseDataModule, BaseModel, save_random_model
from erprm.demo.recipe import Recipe
from erprm.demo.tokenizer import STEP_FORMAT, make_tokenizer
from erprm.demo.world import (
    DialProblem,
    Mistakes,
    distinct_problems,
    random_problem,
    solution_text,
    solve,
    systematic_mistakes,
)
from erprm.engines.base import Sampling
from erprm.engines.prompts import PromptFormat
from erprm.engines.transformers import TransformersEngine
from erprm.metrics.estimate import Curve
from erprm.models import CosineWithWarmup, PolicyModel, ProcessRewardModel
from erprm.rollout.config import RolloutConfig
from erprm.rollout.pools import sample_pool
from erprm.rollout.running.pipeline import run_rollouts
from erprm.runs.atomic import write_json, write_json_lines
from erprm.runs.folder import RunFolder, StageFolders
from erprm.runs.lock import sole_use

LABEL_METHODS: tuple[LabelMethod, ...] = ("er", "soft", "hard", "outcome")
PROMPT = PromptFormat("{question}\n")
_MAX_NEW_TOKENS = 64
_ROW_TOKENS = 128
_BATCH_TOKENS = 2048

Results = dict[str, dict[str, Curve]]


class Demo:
    """One run of the demo in one folder.

    Attributes:
        seconds: how long each stage took, of those done in this process.
    """

    def __init__(self, folder: Path, recipe: Recipe, seed: int, console: Console) -> None:
        """Looks into the folder, which is continued if it was begun with the same recipe and seed.

        Raises:
            OutputFolderError: if the folder was begun with another recipe or seed, named with both values.
        """
        self.folder = folder
        self.recipe = recipe
        self.seed = seed
        self.console = console
        self.seconds: dict[str, float] = {}
        self._settings = {"seed": seed, **asdict(recipe)}
        self._run_folder = RunFolder(folder, "a demo", former="recipe.json")
        self._run_folder.refuse_other_settings(self._settings)
        self._stages = StageFolders(folder)

    def run(self) -> Results:
        """Runs what is missing; returns the curves of each reward model and, under ``pool``, of the pool itself.

        Raises:
            InUseError: if another command is writing into the folder.
        """
        with sole_use(self.folder):
            self._run_folder.begin(self._settings)
            return self._run()

    def _run(self) -> Results:
        random_model = self._stage("random model", self._random_model)
        base = self._stage("base model", partial(self._base, random_model))
        problems = self._stage("problems", self._problems)
        policy = self._stage("policy", partial(self._policy, base))
        rollouts = self._stage("rollouts", partial(self._rollouts, policy, problems))
        pool = self._stage("pool", partial(self._pool, policy, problems))
        results: Results = {}
        for method in LABEL_METHODS:
            model = self._stage(f"reward model {method}", partial(self._reward_model, base, rollouts, pool, method))
            saved = json.loads((model / "results.json").read_text(encoding="utf-8"))
            curves = {name: Curve(**curve) for name, curve in saved.items()}
            results[method] = {name: curves[name] for name in ("bon", "weighted_vote")}
            results["pool"] = {name: curve for name, curve in curves.items() if name not in results[method]}
        return results

    def _stage(self, name: str, build: Callable[[Path], None]) -> Path:
        stage = name.replace(" ", "_")
        if self._stages.is_done(stage):
            self.console.print(f"{name}: found")
        else:
            started = time.perf_counter()
            self._stages.make(stage, build)
            self.seconds[name] = time.perf_counter() - started
            self.console.print(f"{name}: {self.seconds[name]:.0f} s")
        return self._stages.path(stage)

    def _rng(self, purpose: str) -> random.Random:
        return random.Random(f"{purpose} {self.seed}")

    def _random_model(self, folder: Path) -> None:
        save_random_model(folder, self.recipe, self.seed)

    def _base(self, random_model: Path, folder: Path) -> None:
        model = BaseModel(str(random_model), **self._optimization(self.recipe.base_learning_rate, floor=0.1))
        self._fit(model, BaseDataModule(self.recipe, self.seed), folder, epochs=1)
        model.save_pretrained(folder)

    def _problems(self, folder: Path) -> None:
        count = self.recipe.train_problems + self.recipe.test_problems
        problems = distinct_problems(self._rng("problems"), count)
        for name, part in {
            "train": problems[: self.recipe.train_problems],
            "test": problems[self.recipe.train_problems :],
        }.items():
            write_json_lines(
                (_problem_row(name, i, problem) for i, problem in enumerate(part)), folder / f"{name}.jsonl"
            )

    def _policy(self, base: Path, folder: Path) -> None:
        rng = self._rng("policy")
        mistakes = Mistakes(
            systematic_mistakes(rng, self.recipe.systematic_share), self.recipe.systematic_rate, self.recipe.slip_rate
        )
        rows = []
        for _ in range(self.recipe.policy_samples):
            problem = random_problem(rng)
            prompt, completion = PROMPT.text(problem.question), solution_text(solve(problem, rng, mistakes))
            rows.append({"prompt": prompt, "completion": completion})
        write_json_lines(rows, folder / "samples.jsonl")
        model = PolicyModel(str(base), **self._optimization(self.recipe.policy_learning_rate))
        data = PolicyDataModule(
            str(folder / "samples.jsonl"),
            max_tokens=_BATCH_TOKENS,
            row_tokens=_ROW_TOKENS,
            max_length=_ROW_TOKENS,
            seed=self.seed,
        )
        self._fit(model, data, folder, epochs=1)
        assert model.backbone is not None
        tokenizer = make_tokenizer(with_tag=False)
        model.backbone.resize_token_embeddings(len(tokenizer))
        model.backbone.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    def _rollouts(self, policy: Path, problems: Path, folder: Path) -> None:
        config = RolloutConfig(
            model=str(policy),
            output_dir=str(folder),
            source="jsonl",
            path=str(problems / "train.jsonl"),
            device="cpu",
            batch_size=512,
            prompt=PROMPT,
            solutions_per_problem=1,
            completions_per_step=self.recipe.completions_per_step,
            reuse_solutions=False,
            max_tokens=_MAX_NEW_TOKENS,
            seed=self.seed,
            grading="gsm8k",
            problems_per_shard=500,
        )
        run_rollouts(config, console=self.console)

    def _pool(self, policy: Path, problems: Path, folder: Path) -> None:
        unseen = load_problems("jsonl", str(problems / "test.jsonl"))
        sampling = Sampling(self.recipe.candidates, max_tokens=_MAX_NEW_TOKENS, seed=self.seed)
        with closing(TransformersEngine(str(policy), batch_size=512, device="cpu")) as engine:
            write_pool(sample_pool(engine, unseen, PROMPT, sampling), folder / "pool.jsonl")

    def _reward_model(self, base: Path, rollouts: Path, pool: Path, method: LabelMethod, folder: Path) -> None:
        epochs = self.recipe.prm_epochs
        model = ProcessRewardModel(
            str(base),
            step_format=STEP_FORMAT,
            score_max_tokens=8192,
            score_row_tokens=_ROW_TOKENS,
            **self._optimization(self.recipe.prm_learning_rate),
        )
        data = ProcessRewardDataModule(
            str(rollouts),
            labels=method,
            eta=self.recipe.eta if method == "er" else 1.0,
            max_tokens=_BATCH_TOKENS,
            row_tokens=_ROW_TOKENS,
            max_length=_ROW_TOKENS,
            cache_dir=str(self.folder / "cache"),
            seed=self.seed,
        )
        best_of_n = BestOfN(str(pool / "pool.jsonl"), name="dial", kind="gsm8k", every_n_epochs=epochs)
        trainer = self._fit(model, data, folder, epochs, best_of_n)
        curves = {name: asdict(curve) for name, curve in best_of_n.results.items()}
        write_json(curves, folder / "results.json")
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        write_json(metrics, folder / "validation.json")
        model.save_pretrained(folder)

    @staticmethod
    def _optimization(learning_rate: float, floor: float = 0.0) -> dict[str, Any]:
        return {
            # Training here amplifies rounding: the figures of docs/demo.md belong to this kernel.
            "attn_implementation": "sdpa",
            "optimizer": partial(AdamW, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
            "scheduler": partial(CosineWithWarmup, warmup=0.08, floor=floor),
        }

    def _fit(
        self, model: L.LightningModule, data: L.LightningDataModule, folder: Path, epochs: int, *callbacks: L.Callback
    ) -> L.Trainer:
        L.seed_everything(self.seed, verbose=False)
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            gradient_clip_val=1.0,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=self.console.is_terminal,
            num_sanity_val_steps=0,
            callbacks=list(callbacks),
        )
        trainer.fit(model, datamodule=data)
        return trainer


def _problem_row(split: str, number: int, problem: DialProblem) -> dict[str, str]:
    return {
        "problem_id": f"dial/{split}/{number}",
        "question": problem.question,
        "answer": problem.answer,
        "source": "dial",
    }
