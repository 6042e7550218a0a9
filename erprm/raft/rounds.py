"""The rounds of RAFT, stage by stage; finished stages are skipped.

    round-0/  held_out, evaluation                                        of the initial policy
    round-1/  samples, scores, selected, policy, held_out, evaluation     and so on

With importance weights, ``log_probs`` comes before ``policy``.

An engine is opened once for a policy: for its solutions of the held-out problems and those of the next round. It is
closed before the reward model is opened, and that before the policy is fine-tuned, in a process of its own.
"""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from erprm.data.sources import Problem
from erprm.engines.registry import chat_content, engine_content, fingerprint_of_own, open_engine
from erprm.raft.config import SELECTORS, RaftConfig, check_held_out
from erprm.raft.evaluation import Evaluation, best_round
from erprm.raft.fine_tuning import (
    TRAINING_FOLDER,
    FineTune,
    check_sft,
    fine_tune,
    run_in_process_of_its_own,
    sft_settings,
)
from erprm.raft.selectors import check_scorer, scorer_config_key, scorer_key
from erprm.raft.stages import (
    KEPT_FILE,
    add_log_probs,
    evaluate_policy,
    open_selector,
    opened_when_asked,
    read_evaluation,
    sample_held_out,
    sample_solutions,
    score_solutions,
    select_solutions,
)
from erprm.runs.atomic import remove_leftovers, write_json
from erprm.runs.folder import StageFolders
from erprm.runs.identity import policy_key, setting_content, sha256_of
from erprm.runs.lock import sole_use

_PRUNED = ("samples", "scores", "selected", "log_probs", "policy", "held_out")
BEST_FILE = "best.json"


def run_raft(config: RaftConfig, console: Console | None = None, run: FineTune | None = None) -> list[Evaluation]:
    """Runs RAFT, or the part of it that is still missing.

    Args:
        config: the settings.
        console: where progress goes; the standard error stream by default.
        run: runs ``erprm sft``; by default in a process of its own.

    Returns:
        The evaluation of the initial policy and of that of each round; also in ``results.json``. ``best.json`` says
        which of them is best, and where its policy is.

    Raises:
        OutputFolderError: if stages that are done were made with other settings.
        InUseError: if another command is writing into ``config.output_dir``.
        SelectionError: if a round has nothing to learn from; what was sampled and scored stays.
        FineTuningError: if ``erprm sft`` failed.
        ValueError: if the settings or the problems cannot be used.
        FileNotFoundError: if a model or a file does not exist.
    """
    check_sft(config.sft)
    raft = _Raft(config, console or Console(stderr=True), run or run_in_process_of_its_own(config.launcher))
    with sole_use(raft.stages.folder):
        remove_leftovers(raft.stages.folder)
        evaluations = raft.run()
        write_json([each.as_json() for each in evaluations], raft.stages.folder / "results.json")
        write_json(raft.best(evaluations), raft.stages.folder / BEST_FILE)
    return evaluations


class _Raft:
    """One run: its settings, problems and folder."""

    def __init__(self, config: RaftConfig, console: Console, run: FineTune) -> None:
        self.config, self.console, self.run_command = config, console, run
        self.stages = StageFolders(Path(config.output_dir), config.allow_change)
        problems = config.problems.load()
        self.slices = [config.slice_of(problems, number) for number in range(1, config.rounds + 1)]
        self.held_out = config.held_out.load()
        check_held_out((problem for part in self.slices for problem in part), self.held_out)
        names, settings = (config.selector_name, config.used_scorer), config.scorer_settings
        used = {name: settings[name] for name in names if name in settings}
        for name, setting in used.items():
            check_scorer(setting, scorer_config_key(name), config.model)
        self.scorer_keys = {name: scorer_key(setting) for name, setting in used.items()}
        self.chat = chat_content(config, config.prompt)
        model = policy_key(config.model, config.gguf_file, config.engine)
        self.policy = {"model": model, **fingerprint_of_own(config)}

    def run(self) -> list[Evaluation]:
        config, evaluations = self.config, list[Evaluation]()
        for number in range(config.rounds + 1):
            if number:
                self._train(number)
            if config.patience is None:
                self._sample_and_judge(number, goes_on=number < config.rounds)
            else:
                # Nothing is sampled for a round that there may not be. This opens the engine twice.
                self._sample_and_judge(number, goes_on=False)
            evaluations.append(read_evaluation(self._path(number, "evaluation")))
            best = best_round(evaluations, config.best_by)
            # Its own policy and solutions are read no more; the next round is learned from what it has sampled itself.
            self._prune(number - config.keep_rounds, best)
            if config.patience is not None and number < config.rounds:
                if number - best >= config.patience:
                    self.console.print(
                        f"stopped after round {number} of {config.rounds}: {config.best_by} is not above that of round "
                        f"{best} in {number - best} round(s), and patience is {config.patience}",
                        highlight=False,
                    )
                    break
                self._sample_and_judge(number, goes_on=True)
        return evaluations

    def best(self, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        """The best round: its number, its accuracy, and its policy, which is null if it was pruned as not the best."""
        number = best_round(evaluations, self.config.best_by)
        policy = _stage(number, "policy") if number else self.config.model
        # A run that was pruned by another `best_by` may have it no more.
        is_there = not number or len(list(self._path(number, "policy").iterdir())) > 1
        accuracy = getattr(evaluations[number], self.config.best_by).mean
        return {"round": number, self.config.best_by: accuracy, "policy": policy if is_there else None}

    def _train(self, number: int) -> None:
        settings = self._policy_settings(number)
        if self.stages.is_done(_stage(number, "policy"), settings):
            return  # What importance weights are made from may be pruned.
        if self.config.importance_cap is not None:
            before, selected = self._engine(number - 1), self._path(number, "selected")
            self._make(
                number,
                "log_probs",
                {**self._reads(number, "selected"), "dtype": self.config.dtype},
                lambda to: add_log_probs(self.config, before.model, before.gguf_file, selected, to),
            )
        self._make(number, "policy", settings, lambda to: self._fine_tune(number, to))

    def _sample_and_judge(self, number: int, *, goes_on: bool) -> None:
        self._sample(number, goes_on)
        self._judge(number, goes_on)

    def _sample(self, number: int, goes_on: bool) -> None:
        """Stages that need a round's policy: its solutions of the held-out problems, and those of the next round."""
        config, following = self.config, number + 1
        with opened_when_asked(lambda: closing(open_engine(self._engine(number)))) as engine:
            self._make(
                number,
                "held_out",
                self._held_out_settings(number),
                lambda to: sample_held_out(config, self.held_out, number, engine, to),
            )
            if goes_on:
                self._make(
                    following,
                    "samples",
                    self._samples_settings(following),
                    lambda to: sample_solutions(config, self.slices[number], config.sampling(following), engine, to),
                )

    def _judge(self, number: int, goes_on: bool) -> None:
        """Stages that need the reward model: the evaluation of a round, and the selection for the next."""
        config, following = self.config, number + 1
        used, chosen = config.used_scorer, config.selector_name
        with (
            opened_when_asked(lambda: open_selector(config, chosen)) as selector,
            opened_when_asked(lambda: open_selector(config, used or chosen)) as other,
        ):
            judge = None if used is None else selector if used == chosen else other
            policy, held_out = self._engine(number).model, self._path(number, "held_out")
            self._make(
                number,
                "evaluation",
                self._evaluation_settings(number),
                lambda to: evaluate_policy(config, number, policy, held_out, judge, to),
            )
            if not goes_on:
                return
            samples, scores = self._path(following, "samples"), self._path(following, "scores")
            self._make(
                following,
                "scores",
                self._scores_settings(following),
                lambda to: score_solutions(config, samples, selector, to),
            )
        self._make(
            following,
            "selected",
            self._selected_settings(following),
            lambda to: select_solutions(config, following, samples, scores, to),
        )

    def _fine_tune(self, number: int, folder: Path) -> None:
        learned = "selected" if self.config.importance_cap is None else "log_probs"
        samples = self._path(number, learned) / KEPT_FILE
        settings = sft_settings(self.config, number, self._engine(number - 1).model, samples, folder)
        fine_tune(settings, folder, self.run_command)
        shutil.rmtree(folder / TRAINING_FOLDER, ignore_errors=True)

    def _make(self, number: int, name: str, settings: dict[str, Any], build: Callable[[Path], None]) -> None:
        """Makes a stage of a round, unless it is done."""
        stage = _stage(number, name)
        if self.stages.is_done(stage, settings):
            return
        started = time.perf_counter()
        self.stages.make(stage, build, settings)
        gc.collect()
        torch.cuda.empty_cache()
        self.console.print(f"{stage}: {time.perf_counter() - started:.0f} s", highlight=False)

    def _prune(self, last: int, best: int) -> None:
        for number in range(last + 1):
            for name in _PRUNED:
                if (number, name) != (best, "policy"):
                    self.stages.prune(_stage(number, name))

    def _path(self, number: int, name: str) -> Path:
        return self.stages.path(_stage(number, name))

    def _engine(self, number: int) -> RaftConfig:
        """The settings of the engine of a round's policy."""
        if number == 0:
            return self.config
        return replace(self.config, model=str(self._path(number, "policy")), gguf_file=None)

    # What determines each stage ---------------------------------------------------------------------------------------

    def _reads(self, number: int, name: str) -> dict[str, Any]:
        return {name: self.stages.hash_of(_stage(number, name))}

    def _sampling_settings(self, number: int, problems: Sequence[Problem]) -> dict[str, Any]:
        return {
            **(self.policy if number == 0 else self._reads(number, "policy")),
            "problems": _fingerprint(problems),
            "prompt": asdict(self.config.prompt),
            **self.chat,
            "dtype": self.config.dtype,
            "problems_per_part": self.config.problems_per_part,
            **engine_content(self.config),
        }

    def _held_out_settings(self, number: int) -> dict[str, Any]:
        sampling = asdict(self.config.evaluation_sampling(number))
        return {**self._sampling_settings(number, self.held_out), "sampling": sampling}

    def _samples_settings(self, number: int) -> dict[str, Any]:
        sampling = asdict(self.config.sampling(number))
        return {**self._sampling_settings(number - 1, self.slices[number - 1]), "sampling": sampling}

    def _scores_settings(self, number: int) -> dict[str, Any]:
        return {**self._reads(number, "samples"), **self._selector_settings(self.config.selector_name)}

    def _selector_settings(self, name: str) -> dict[str, Any]:
        config = self.config
        if name in SELECTORS:
            settings = {**vars(config), **self._grading_settings()}
            return {"selector": name, **{key: settings[key] for key in SELECTORS[name]}}
        # The name is the user's own; what counts is the model behind it.
        return {"scorer": self.scorer_keys[name], "style": config.style, "aggregation": config.aggregation}

    def _grading_settings(self) -> dict[str, Any]:
        grading = self.config.grading
        if isinstance(grading, dict):
            grading = json.dumps(setting_content(grading, "grading"), sort_keys=True)
        return {"grading": grading, "correct_threshold": self.config.correct_threshold}

    def _selected_settings(self, number: int) -> dict[str, Any]:
        # Runs that began before there were votes go on.
        vote = () if self.config.select == "best" else ("select", "vote_eta")
        kept = {name: getattr(self.config, name) for name in ("top_k", "threshold", "deduplicate", *vote)}
        return {**self._reads(number, "scores"), **kept}

    def _policy_settings(self, number: int) -> dict[str, Any]:
        cap = self.config.importance_cap
        return {
            **self._reads(number, "selected"),
            # Runs that began before there were weights go on.
            **({} if cap is None else {"importance_cap": cap, "dtype": self.config.dtype}),
            "epochs": self.config.epochs,
            "learning_rate": self.config.round_learning_rate(number),
            "sft": self.config.sft,
            "seed": self.config.seed,
        }

    def _evaluation_settings(self, number: int) -> dict[str, Any]:
        used = self.config.used_scorer
        judge = {} if used is None else self._selector_settings(used)
        return {**self._reads(number, "held_out"), **self._grading_settings(), **judge}


def _stage(number: int, name: str) -> str:
    return f"round-{number}/{name}"


def _fingerprint(problems: Sequence[Problem]) -> str:
    return sha256_of([json.dumps([asdict(problem) for problem in problems]).encode()])
