"""Fine-tuning of one round: ``erprm sft`` in its own process, so that its memory is free again afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from erprm.errors import FailedRunError
from erprm.models.training.newest_checkpoint import arguments_to_resume
from erprm.raft.config import RaftConfig
from erprm.runs.atomic import write_json
from erprm.runs.child import run_command

SETTINGS_FILE, LOG_FILE, TRAINING_FOLDER = "sft.json", "sft.log", "training"

FineTune = Callable[[Sequence[str], Path], None]
"""Runs ``sft`` with these arguments, its output into a file."""

# What a round decides, by the key under `sft`.
_DECIDED_BY_THE_ROUND = {
    "model": {"backbone", "gguf_file", "importance_cap"},
    "data": {"samples", "seed"},
    "trainer": {"max_epochs", "max_steps", "default_root_dir"},
}


class FineTuningError(FailedRunError):
    """``erprm sft`` has failed; the message ends with what it said."""


def check_sft(sft: Mapping[str, Any]) -> None:
    """Refuses keys of ``sft`` that a round decides, and parts that ``erprm sft`` has not.

    Raises:
        ValueError: naming the key.
    """
    if unknown := set(sft) - set(_DECIDED_BY_THE_ROUND):
        raise ValueError(f"sft has {sorted(unknown)}; it takes trainer, model and data, as `erprm sft` does")
    for part, decided in _DECIDED_BY_THE_ROUND.items():
        if given := decided & set(_arguments(sft, part)):
            raise ValueError(f"sft.{part}.{min(given)} is set by each round; leave it out")
    if "lr" in _optimizer(sft)["init_args"]:
        raise ValueError("sft.model.optimizer sets lr, which each round decides; set learning_rate in its place")


def sft_settings(config: RaftConfig, number: int, policy: str, samples: Path, folder: Path) -> dict[str, Any]:
    """The configuration of ``erprm sft`` in a round.

    Args:
        config: of the run.
        number: of the round, counted from 1.
        policy: folder or hub id of the policy that goes on learning.
        samples: prompts and completions.
        folder: where the new policy goes.
    """
    trainer = {"logger": False, "enable_checkpointing": False, **_arguments(config.sft, "trainer")}
    export = {"class_path": "erprm.callbacks.ExportHF", "init_args": {"output": str(folder), "overwrite": True}}
    optimizer = _optimizer(config.sft)
    return {
        "seed_everything": config.seed,
        "trainer": {
            **trainer,
            "max_epochs": config.epochs,
            "default_root_dir": str(folder / TRAINING_FOLDER),
            "callbacks": [*(trainer.get("callbacks") or []), export],
        },
        "model": {
            **_arguments(config.sft, "model"),
            "backbone": policy,
            "gguf_file": config.gguf_file if number == 1 else None,
            **({} if config.importance_cap is None else {"importance_cap": config.importance_cap}),
            "optimizer": {
                **optimizer,
                "init_args": {**optimizer["init_args"], "lr": config.round_learning_rate(number)},
            },
        },
        "data": {**_arguments(config.sft, "data"), "samples": str(samples), "seed": config.seed},
    }


def _arguments(sft: Mapping[str, Any], part: str) -> dict[str, Any]:
    return dict(sft.get(part) or {})


def _optimizer(sft: Mapping[str, Any]) -> dict[str, Any]:
    given = _arguments(sft, "model").get("optimizer") or {}
    arguments = given.get("init_args") or {} if given else {"weight_decay": 0.0}
    return {"class_path": "torch.optim.AdamW", **given, "init_args": arguments}


def fine_tune(settings: Mapping[str, Any], folder: Path, run: FineTune) -> None:
    """Makes the policy of a round.

    Args:
        settings: of :func:`sft_settings`.
        folder: where the policy goes; a training that was interrupted is continued if it left a checkpoint there.
        run: runs the command.
    """
    file, training = folder / SETTINGS_FILE, folder / TRAINING_FOLDER
    write_json(settings, file)  # JSON is YAML, too
    run(["sft", "--config", str(file), *arguments_to_resume(training)], folder / LOG_FILE)


def run_in_process_of_its_own(launcher: Sequence[str]) -> FineTune:
    """Runs commands in a process that ends with this one, in whatever way this one ends.

    Args:
        launcher: the words before the arguments; if there are none, this Python with ``-m erprm``.
    """

    def run(arguments: Sequence[str], log_file: Path) -> None:
        status = run_command(arguments, log_file, launcher)
        if status:
            said = log_file.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
            raise FineTuningError(f"erprm sft ended with status {status}; its output, {str(log_file)!r}, ends:\n{said}")

    return run
