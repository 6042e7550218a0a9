"""Runs of an ablation: a training and an evaluation each, as ``erprm`` commands in their own processes.

A run's folder holds, in the order in which they come to be:

    fit.yaml         the configuration of the training, to be run again by hand with ``erprm fit --config``
    fit.log          what it printed
    fit/             its logs and checkpoints
    model/           the trained model
    training.json    what the training took; it is done once this is there
    test.yaml, test.log, scoring.json, best_of_n/pool/    the same of the evaluation on the pool
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from erprm.ablation.config import Method
from erprm.callbacks.run_cost import Cost
from erprm.errors import FailedRunError
from erprm.models.training.newest_checkpoint import arguments_to_resume
from erprm.report.candidates import RESULTS_FILE
from erprm.runs.atomic import write_text
from erprm.runs.child import output_of_command, run_command
from erprm.runs.folder import RunFolder
from erprm.runs.lock import sole_use

POOL_NAME = "pool"
# What these do once a training the ablation does once, after it.
_LEFT_OUT_CALLBACKS = {"BestOfN", "StepEvaluation", "ExportHF", "RunCost"}
_TRAINER_KEYS_OF_TEST = ("accelerator", "strategy", "devices", "num_nodes", "precision", "enable_progress_bar")
_LINES_OF_LOG = 15


class RunError(FailedRunError):
    """A training or an evaluation that failed; the message names its log and ends with its last lines."""


@dataclass(frozen=True)
class Run:
    """One model: how its labels are made, which seed it is trained with, and its folder."""

    method: Method
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        """For the reader: ``eta 2, seed 0``."""
        return f"{self.method.name}, seed {self.seed}"

    @property
    def results(self) -> Path:
        """The file that the evaluation writes at its end."""
        return self.folder / "best_of_n" / POOL_NAME / RESULTS_FILE

    @property
    def is_done(self) -> bool:
        """True if the model is trained and evaluated."""
        return self.results.exists()

    def cost(self, of: str) -> Cost:
        """Cost of ``training`` or ``scoring``."""
        return Cost(**json.loads((self.folder / f"{of}.json").read_text(encoding="utf-8")))


def resolved_fit(arguments: Sequence[str]) -> dict[str, Any]:
    """The whole configuration that ``erprm fit`` would make of some arguments.

    Raises:
        ValueError: if it would refuse them, with its message.
    """
    finished = output_of_command(["fit", *arguments, "--print_config"])
    if finished.returncode:
        raise ValueError(f"fit: {finished.stderr.strip().removeprefix('erprm fit: ')}")
    resolved: dict[str, Any] = yaml.safe_load(finished.stdout)
    for part, keys in (("data", ("labels", "eta", "seed")), ("model", ("backbone",))):
        missing = [key for key in keys if key not in resolved[part]["init_args"]]
        if missing:
            raise ValueError(
                f"fit: {part} is {resolved[part]['class_path']}, which takes no {', '.join(missing)}; an ablation sets "
                "data.labels, data.eta, data.seed and, to evaluate, model.backbone"
            )
    callbacks = resolved["trainer"]["callbacks"] or []
    resolved["trainer"]["callbacks"] = [each for each in callbacks if _class_name(each) not in _LEFT_OUT_CALLBACKS]
    return resolved


def fit_config(resolved: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """The configuration of a run's training."""
    config: dict[str, Any] = copy.deepcopy(dict(resolved))
    config["seed_everything"] = run.seed
    config["data"]["init_args"].update(labels=run.method.labels, seed=run.seed)
    if run.method.eta is not None:
        config["data"]["init_args"]["eta"] = run.method.eta
    config["trainer"]["default_root_dir"] = str(run.folder / "fit")
    config["trainer"]["callbacks"] += [
        _callback("ExportHF", output=str(run.folder / "model"), overwrite=True),
        # Last, so that the model is there when this writes its file.
        _callback("RunCost", output=str(run.folder / "training.json")),
    ]
    return config


def test_config(resolved: Mapping[str, Any], run: Run, best_of_n: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run's evaluation.

    Args:
        resolved: the configuration of the trainings.
        run: the run.
        best_of_n: arguments of :class:`erprm.callbacks.BestOfN`.
    """
    model: dict[str, Any] = copy.deepcopy(resolved["model"])
    # What the exported folder brings itself, and what is for training.
    not_wanted = {"tokenizer", "gguf_file", "step_format", "lora", "optimizer", "scheduler"} & set(model["init_args"])
    for key in not_wanted:
        del model["init_args"][key]
    model["init_args"]["backbone"] = str(run.folder / "model")
    trainer = {key: resolved["trainer"][key] for key in _TRAINER_KEYS_OF_TEST if key in resolved["trainer"]}
    settings = {**best_of_n, "name": POOL_NAME, "cost_file": str(run.folder / "scoring.json")}
    return {
        "trainer": {
            **trainer,
            "logger": False,
            "default_root_dir": str(run.folder),
            "callbacks": [_callback("BestOfN", **settings)],
        },
        "model": model,
    }


class AblationFolder:
    """The folder of an ablation, held by one process at a time."""

    def __init__(
        self,
        path: Path,
        resolved: Mapping[str, Any],
        best_of_n: Mapping[str, Any],
        content: Mapping[str, str | None],
    ) -> None:
        """Notes the settings.

        Args:
            path: the folder; created if it does not exist.
            resolved: see :func:`resolved_fit`.
            best_of_n: arguments of :class:`erprm.callbacks.BestOfN`.
            content: hashes of what is read: data, model, pool.

        Raises:
            OutputFolderError: if the folder holds something else; the message names what differs.
        """
        self.path = path
        self._resolved = resolved
        self._best_of_n = best_of_n
        self._settings = determining(resolved, best_of_n, content)
        self._folder = RunFolder(path, "an ablation", former="settings.json")
        self._folder.refuse_other_settings(self._settings)

    def __enter__(self) -> AblationFolder:
        """Takes hold of the folder.

        Raises:
            InUseError: if another command has it.
        """
        with ExitStack() as stack:
            self._lock = stack.enter_context(sole_use(self.path))
            self._folder.begin(self._settings)
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def runs(self, methods: Sequence[Method], seeds: int) -> list[Run]:
        """The runs, seed after seed: what is done when the ablation is interrupted can be compared."""
        return [
            Run(method, seed, self.path / "runs" / f"{method.name.replace(' ', '-')}_seed-{seed}")
            for seed in range(seeds)
            for method in methods
        ]

    def make(self, run: Run) -> bool:
        """Trains and evaluates a model, as far as that is not done.

        A training that was begun goes on from its newest checkpoint, if it has any.

        Returns:
            Whether there was anything to do.

        Raises:
            RunError: if a command fails.
        """
        if run.is_done:
            return False
        # Of a training that was killed as it ended: nobody else is in this folder, which is locked as a whole.
        for lock in run.folder.glob(".*.lock"):
            lock.unlink()
        trained = run.folder / "training.json"
        if not trained.exists():
            resume = arguments_to_resume(run.folder / "fit")
            self._run_command("fit", fit_config(self._resolved, run), run, trained, resume)
        self._run_command("test", test_config(self._resolved, run, self._best_of_n), run, run.results)
        return True

    def _run_command(
        self, command: str, config: Mapping[str, Any], run: Run, done: Path, more: Sequence[str] = ()
    ) -> None:
        file, log = run.folder / f"{command}.yaml", run.folder / f"{command}.log"
        write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), file)
        # A command that outlives this process holds on to the folder.
        status = run_command([command, "--config", str(file), *more], log, keep_open=[self._lock])
        if status or not done.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_OF_LOG:]
            raise RunError("\n".join([f"{command} of {run.name} ended with status {status}; {log} ends with", *lines]))


def determining(
    resolved: Mapping[str, Any], best_of_n: Mapping[str, Any], content: Mapping[str, str | None]
) -> dict[str, Any]:
    """Everything that the models and their results depend on, but for what the ablation varies."""
    fit: dict[str, Any] = copy.deepcopy(dict(resolved))
    for part, keys in (
        (fit, ("seed_everything", "ckpt_path")),
        (fit["trainer"], ("default_root_dir",)),
        (fit["data"]["init_args"], ("labels", "eta", "seed")),
    ):
        for key in keys:
            part.pop(key, None)
    # Where the pool lies says less than the hash of what is in it.
    evaluation = {key: value for key, value in best_of_n.items() if key != "candidates"}
    return {"fit": fit, "evaluation": evaluation, "sha256": dict(content)}


def _class_name(callback: Mapping[str, Any]) -> str:
    return str(callback["class_path"]).rpartition(".")[2]


def _callback(class_name: str, /, **settings: Any) -> dict[str, Any]:
    return {"class_path": f"erprm.callbacks.{class_name}", "init_args": settings}
