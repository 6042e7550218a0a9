"""The stages of the demo, each through the package's own parts; a finished stage is not done again.

base (of the world: what policy and reward models start from) -> policy (tuned on solutions with mistakes)
|                         |-> rollouts of training problems
|                         '-> pools of candidates of unseen problems
'-> reward models, one or more for each kind of labels, trained on the rollouts, evaluated on the pools

A folder with problems, rollouts and pools, but no policy, is a run whose policy was left out: none is made then.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console

from erprm.ablation.results import LabelMethodScores, compare
from erprm.callbacks import BestOfN, StepEvaluation
from erprm.data import ProcessRewardDataModule
from erprm.data.labels import LabelMethod
from erprm.data.policy import PolicyDataModule
from erprm.data.pools import grade_pool, pool_fingerprint, read_pool, write_pool
from erprm.data.sources import load_problems
from erprm.demo.world import PROMPT, BaseStage, Row, World
from erprm.engines.base import Sampling
from erprm.engines.transformers import TransformersEngine
from erprm.errors import InputError
from erprm.metrics.estimate import Curve
from erprm.metrics.evaluation import SCORE_METHODS
from erprm.models import PolicyModel, ProcessRewardModel
from erprm.report.candidates import read_step_scores
from erprm.report.step_results import RESULTS_FILE
from erprm.rollout.config import RolloutConfig
from erprm.rollout.pools import sample_pool
from erprm.rollout.running.pipeline import run_rollouts
from erprm.runs.atomic import remove, write_json, write_json_lines
from erprm.runs.folder import MANIFEST, Parts, RunFolder, StageFolders, read_sealed
from erprm.runs.lock import sole_use
from erprm.steps import split_steps

LABEL_METHODS: tuple[LabelMethod, ...] = ("er", "soft", "hard", "outcome")
_CHECKED_CANDIDATES = 4

# For each kind of labels, and under ``pool`` for the pool itself, the curve of each method of selection.
Results = dict[str, dict[str, Curve]]


class Demo:
    """One run of the demo in one folder.

    Attributes:
        seconds: how long each stage took, of those done in this process.
    """

    def __init__(
        self,
        folder: Path,
        world: World,
        seed: int,
        console: Console,
        methods: Sequence[LabelMethod] = LABEL_METHODS,
        device: str = "cpu",
    ) -> None:
        """Looks into the folder, which is continued if it was begun in the same world, with the same recipe and seed.

        Raises:
            OutputFolderError: if the folder was begun with something else, named with both values.
        """
        self.folder = folder
        self.world = world
        self.seed = seed
        self.console = console
        self.methods = methods
        self.device = device
        self.seconds: dict[str, float] = {}
        self._settings = {"seed": seed, **world.settings}
        self._run_folder = RunFolder(folder, "a demo", former="recipe.json")
        self._run_folder.refuse_other_settings(self._settings)
        self._stages = StageFolders(folder)

    def run(self) -> dict[str, Results]:
        """Runs what is missing; returns what came out for each pool.

        Raises:
            InUseError: if another command is writing into the folder.
            InputError: if the rollouts in the folder are of another policy.
        """
        with sole_use(self.folder):
            self._run_folder.begin(self._settings)
            return self._run()

    def make_inputs(self) -> None:
        """Makes what is there before anything is labelled: base model, problems, policy and pools.

        Raises:
            InUseError: if another command is writing into the folder.
        """
        with sole_use(self.folder):
            self._run_folder.begin(self._settings)
            base, problems = self._given()
            policy = self._stage("policy", partial(self._policy, base, problems))
            self._stage("pool", partial(self._pool, policy, problems))

    def _given(self) -> tuple[Path, Path]:
        """The base model and the problems."""
        base: Path | None = None
        for name, build in self.world.base_stages:
            base = self._stage(name, partial(self._base, build, base))
        assert base is not None
        return base, self._stage("problems", self._problems)

    def _run(self) -> dict[str, Results]:
        base, problems = self._given()
        rollouts, pools = self.folder / "rollouts", self._stages.path("pool")
        policy = self._stages.path("policy")
        from_policy = self.world.prm_start == "policy"
        if from_policy or policy.exists() or not (_is_rolled_out(rollouts) and self._stages.is_done("pool")):
            self._stage("policy", partial(self._policy, base, problems))
        self._rollouts(policy, problems, rollouts)
        self._stage("pool", partial(self._pool, policy, problems))
        if self._checks_steps:
            self._stage("checked steps", partial(self._checked_steps, pools))
        start = policy if from_policy else base
        for name, build in () if from_policy else self.world.checker_stages:
            start = self._stage(name, partial(self._base, build, start))
        for seed in range(max(1, self.world.prm_seeds)):
            for method in self.methods:
                name = self._model_name(method, seed)
                self._stage(name, partial(self._reward_model, start, rollouts, pools, method, seed))
        return {name: self._results(name, pools / f"{pool}.jsonl") for name, pool in self.world.pools.items()}

    def _stage(self, name: str, build: Callable[[Path], None]) -> Path:
        stage = name.replace(" ", "_")
        if self._stages.is_done(stage):
            self.console.print(f"{name}: found")
        else:
            self._timed(name, partial(self._stages.make, stage, build))
        return self._stages.path(stage)

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        self.seconds[name] = time.perf_counter() - started
        self.console.print(f"{name}: {self.seconds[name]:.0f} s")

    def _rng(self, purpose: str) -> random.Random:
        return random.Random(f"{purpose} {self.seed}")

    @property
    def _checks_steps(self) -> bool:
        return type(self.world).first_wrong is not World.first_wrong

    def _base(self, build: BaseStage, before: Path | None, folder: Path) -> None:
        build(before, folder, self.seed, self._fit)

    def _problems(self, folder: Path) -> None:
        for name, rows in self.world.problems(self._rng("problems")).items():
            write_json_lines(rows, folder / f"{name}.jsonl")

    def _policy(self, base: Path, problems: Path, folder: Path) -> None:
        ids = {problem.problem_id for file in problems.glob("*.jsonl") for problem in load_problems("jsonl", str(file))}
        samples, sizes = self.world.policy_samples(self._rng("policy"), ids), self.world.sizes
        write_json_lines(samples, folder / "samples.jsonl")
        recipe = self.world.recipe
        model = PolicyModel(str(base), **self.world.optimization(recipe.policy_learning_rate))
        data = PolicyDataModule(str(folder / "samples.jsonl"), **sizes.batches, seed=self.seed)
        self._fit(model, data, folder, self.world.policy_epochs)
        self.world.save_policy(model, folder)

    def _rollouts(self, policy: Path, problems: Path, folder: Path) -> None:
        if _is_rolled_out(folder):
            self._refuse_other_policy(folder, policy)
            self.console.print("rollouts: found")
            return
        config = RolloutConfig(
            model=str(policy),
            output_dir=str(folder),
            source="jsonl",
            path=str(problems / "train.jsonl"),
            device=self.device,
            dtype=self.world.dtype,
            batch_size=self.world.sizes.completions,
            prompt=PROMPT,
            solutions_per_problem=1,
            completions_per_step=self.world.recipe.completions_per_step,
            reuse_solutions=False,
            max_tokens=self.world.sizes.max_new_tokens,
            seed=self.seed,
            grading=self.world.grading,
            problems_per_shard=self.world.sizes.problems_per_shard,
        )
        self._timed("rollouts", partial(run_rollouts, config, console=self.console))

    def _engine(self, policy: Path, dtype: str) -> closing[TransformersEngine]:
        batch_size = self.world.sizes.completions
        return closing(TransformersEngine(str(policy), batch_size=batch_size, device=self.device, dtype=dtype))

    def _refuse_other_policy(self, rollouts: Path, policy: Path) -> None:
        """Refuses stored rollouts of another policy than the one beside them, if there is one."""
        if not policy.exists():
            return
        settings = read_sealed(rollouts / MANIFEST)["settings"]
        stored = settings.get("model_sha256")
        with self._engine(policy, settings.get("dtype", self.world.dtype)) as engine:
            found = engine.fingerprint()
        if stored != found:
            raise InputError(
                f"{rollouts} holds rollouts of another policy (weights {str(stored)[:12]}) than {policy} (weights "
                f"{found[:12]}): remove the policy, or the rollouts and all that was trained on them"
            )

    def _pool(self, policy: Path, problems: Path, folder: Path) -> None:
        sizes = self.world.sizes
        sampling = Sampling(self.world.recipe.candidates, max_tokens=sizes.max_new_tokens, seed=self.seed)
        with self._engine(policy, self.world.dtype) as engine:
            for name, pool in self.world.pools.items():
                unseen = load_problems("jsonl", str(problems / f"{name}.jsonl"))
                # The stage begins anew after a kill; what was sampled until then is kept beside it.
                kept = Parts(self.folder / "cache" / "pool", sizes.problems_per_shard, f"{pool}-")
                kept.folder.mkdir(parents=True, exist_ok=True)
                for number, part in enumerate(kept.of(unseen)):
                    if not kept.is_done(number):
                        write_pool(sample_pool(engine, list(part), PROMPT, sampling), kept.path(number))
                whole = b"".join(kept.path(number).read_bytes() for number in range(len(kept.of(unseen))))
                (folder / f"{pool}.jsonl").write_bytes(whole)
        remove(kept.folder)

    def _checked_steps(self, pools: Path, folder: Path) -> None:
        """Solutions of the policy with their first wrong step, in the layout of ProcessBench."""
        for pool in self.world.pools.values():
            rows = []
            for entry in read_pool(pools / f"{pool}.jsonl"):
                problem_id = str(entry.problem.problem_id)
                for number, text in enumerate(list(dict.fromkeys(entry.candidates))[:_CHECKED_CANDIDATES]):
                    steps = split_steps(text, "lines")
                    if all(step.strip() for step in steps):
                        rows.append(
                            self._checked_row(f"{problem_id}#{number}", problem_id, entry.problem.question, steps)
                        )
            write_json_lines(rows, folder / f"{pool}.jsonl")

    def _checked_row(self, name: str, problem_id: str, question: str, steps: Sequence[str]) -> Row:
        label = self.world.first_wrong(problem_id, steps)
        return {"id": name, "problem": question, "steps": list(steps), "label": label}

    def _model_name(self, method: LabelMethod, seed: int) -> str:
        start = " from policy" if self.world.prm_start == "policy" else ""
        return f"reward model {method}{start}" + (f" {seed}" if self.world.prm_seeds else "")

    def _reward_model(
        self, start: Path, rollouts: Path, pools: Path, method: LabelMethod, seed: int, folder: Path
    ) -> None:
        recipe, sizes = self.world.recipe, self.world.sizes
        seed = seed if self.world.prm_seeds else self.seed
        model = ProcessRewardModel(
            str(start),
            step_format=self.world.step_format,
            score_max_tokens=sizes.score_tokens,
            score_row_tokens=sizes.row_tokens,
            **self.world.optimization(recipe.prm_learning_rate),
        )
        data = ProcessRewardDataModule(
            str(rollouts),
            labels=method,
            eta=recipe.eta if method == "er" else 1.0,
            **sizes.batches,
            cache_dir=str(self.folder / "cache"),
            seed=seed,
        )
        best_of_n = {
            name: BestOfN(str(pools / f"{pool}.jsonl"), name=name, kind=self.world.grading)
            for name, pool in self.world.pools.items()
        }
        trainer = self._fit(model, data, folder, recipe.prm_epochs, seed)
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        write_json(metrics, folder / "validation.json")
        model.save_pretrained(folder)
        callbacks = [*best_of_n.values(), *self._step_evaluation()]
        self._trainer(folder, 1, *callbacks).test(model, datamodule=data, verbose=False)
        for name, callback in best_of_n.items():
            curves = {method: asdict(curve) for method, curve in callback.results.items()}
            write_json(curves, folder / ("results.json" if len(best_of_n) == 1 else f"results-{name}.json"))

    def _step_evaluation(self) -> list[L.Callback]:
        if not self._checks_steps:
            return []
        checked = {
            name: self._stages.path("checked_steps") / f"{pool}.jsonl" for name, pool in self.world.pools.items()
        }
        rights = {json.loads(line)["label"] < 0 for path in checked.values() for line in path.open(encoding="utf-8")}
        # Where the policy writes no right solution, or no wrong one, no threshold can be chosen.
        threshold = None if rights == {True, False} else 0.5
        return [StepEvaluation({name: str(path) for name, path in checked.items()}, threshold=threshold)]

    def _results(self, pool: str, pool_file: Path) -> Results:
        """The curves of one pool: of the one reward model of each kind, or a mean over seeds."""
        results: Results = {}
        file = "results.json" if len(self.world.pools) == 1 else f"results-{pool}.json"
        for method in self.methods:
            model = self._stages.path(self._model_name(method, 0).replace(" ", "_"))
            saved = json.loads((model / file).read_text(encoding="utf-8"))
            curves = {name: Curve(**curve) for name, curve in saved.items()}
            results[method] = {name: curve for name, curve in curves.items() if name in SCORE_METHODS}
            results["pool"] = {name: curve for name, curve in curves.items() if name not in results[method]}
        if self.world.prm_seeds > 1:
            candidates = read_pool(pool_file)
            sha256 = pool_fingerprint(candidates)
            scores = [LabelMethodScores(method, None, self._scores(method, pool, sha256)) for method in self.methods]
            for each in compare(scores, grade_pool(candidates, self.world.grading, "lines"), "min").chosen:
                results[each.name] = {"bon": each.curve}
        return results

    def step_results(self) -> dict[str, dict[str, dict[str, float]]]:
        """How well reward models find wrong steps, for each kind of labels and each pool: means over seeds.

        Empty in a world without a checker of steps. ``f1`` is ProcessBench's.
        """
        if not self._checks_steps:
            return {}
        return {method: {pool: self._step_means(method, pool) for pool in self.world.pools} for method in self.methods}

    def _step_means(self, method: LabelMethod, pool: str) -> dict[str, float]:
        found = []
        for seed in range(max(1, self.world.prm_seeds)):
            model = self._stages.path(self._model_name(method, seed).replace(" ", "_"))
            text = (model / StepEvaluation.folder / "steps" / RESULTS_FILE).read_text(encoding="utf-8")
            results = json.loads(text)["data"][pool]
            found.append(
                {
                    "f1": results["processbench"]["f1"]["mean"],
                    "first_error_accuracy": results["first_error_accuracy"]["mean"],
                    "auroc_within_problems": results["auroc_within_problems"],
                }
            )
        return {key: sum(_number(of_seed[key]) for of_seed in found) / len(found) for key in found[0]}

    def _scores(self, method: LabelMethod, pool: str, sha256: str) -> list[Any]:
        names = [self._model_name(method, seed).replace(" ", "_") for seed in range(self.world.prm_seeds)]
        return [read_step_scores(self._stages.path(name) / BestOfN.folder / pool, sha256) for name in names]

    def _fit(
        self, model: L.LightningModule, data: L.LightningDataModule, folder: Path, epochs: int, seed: int | None = None
    ) -> L.Trainer:
        L.seed_everything(self.seed if seed is None else seed, verbose=False)
        trainer = self._trainer(folder, epochs)
        trainer.fit(model, datamodule=data)
        return trainer

    def _trainer(self, folder: Path, epochs: int, *callbacks: L.Callback) -> L.Trainer:
        return L.Trainer(
            accelerator=self.device,
            devices=1,
            precision="bf16-mixed" if self.world.dtype == "bfloat16" else "32-true",
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


def _number(value: float | None) -> float:
    """A number as JSON has it, which has no NaN."""
    return float("nan") if value is None else value


def _is_rolled_out(rollouts: Path) -> bool:
    return (rollouts / "summary.json").is_file()
