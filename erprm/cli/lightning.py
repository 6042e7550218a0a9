"""``erprm fit | validate | test | predict``: LightningCLI on the package's module and data module."""

from __future__ import annotations

import inspect
import pkgutil
import shlex
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import SUPPRESS, ArgumentParser
from lightning.fabric.plugins import CheckpointIO
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from rich.console import Console

from erprm.callbacks import BestOfN, SaveOnSignal, StepEvaluation
from erprm.callbacks.run_table import (
    EvaluationRecord,
    best_checkpoint,
    exported_models,
    result_folders,
    run_table,
    shown_path,
)
from erprm.callbacks.scoring import run_folder
from erprm.cli.commands import with_home
from erprm.cli.failures import is_refused_by
from erprm.cli.parser import ShortErrors
from erprm.data import ProcessRewardDataModule
from erprm.data.policy import PolicyDataModule
from erprm.errors import UsageError
from erprm.models import ProcessRewardModel, WholeCheckpointIO
from erprm.models.training.newest_checkpoint import continue_version, newest_checkpoint
from erprm.runs.atomic import write_text
from erprm.runs.lock import InUseError, sole_writer


class ErprmArgumentParser(ShortErrors, LightningArgumentParser):
    """Lightning's parser with short errors."""

    def known_keys(self) -> set[str]:
        """The keys of the trainer, and of the package's modules and callbacks."""
        classes = (ProcessRewardModel, ProcessRewardDataModule, PolicyDataModule, L.Trainer, BestOfN, StepEvaluation)
        return {name for cls in classes for name in inspect.signature(cls).parameters} | {"trainer", "model", "data"}

    def format_help(self) -> str:
        """The keys, and those of the classes that are taken for the model and the data unless others are named."""
        text: str = super().format_help()
        for part in ("model", "data"):
            default = self.get_defaults().get(part) if f"--{part}" in self._option_string_actions else None
            if default is not None:
                keys = ArgumentParser(add_help=False, usage=SUPPRESS)
                keys.add_class_arguments(pkgutil.resolve_name(default.class_path), part, fail_untyped=False)
                text += f"\nIf {part} names no other class_path, its keys are those of {default.class_path}:\n"
                text += keys.format_help()
        return text


def training_parser(command: str, ignored: Sequence[str]) -> ErprmArgumentParser:
    """A parser for another command, of a training's file: of its keys the model is used, and some play no part."""
    parser = ErprmArgumentParser(prog=f"erprm {command}")
    parser.add_argument("-c", "--config", action="config", help="YAML file of the training")
    parser.add_subclass_arguments(ProcessRewardModel, "model")
    parser.set_defaults({"model": {"class_path": "erprm.models.ProcessRewardModel"}})
    for key in ignored:
        parser.add_argument(f"--{key}", type=Any, help=SUPPRESS)
    return parser


class WholeConfig(SaveConfigCallback):
    """Writes the resolved configuration whole, over that of an earlier run, and hands it to every logger."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes it into the folder of the run; every process calls this."""
        folder = trainer.log_dir  # the processes agree on it here
        if folder is None or _is_local_file_protocol(folder):
            if trainer.is_global_zero and not self.already_saved:
                if (run := run_folder(trainer)) is not None:
                    file = run / self.config_filename
                    # Several evaluations may begin in one folder at once; of the configurations one is left anyway.
                    with suppress(InUseError), sole_writer(file):
                        write_text(self.parser.dump(self.config, skip_none=False), file)
                self.save_config(trainer, pl_module, stage)
                self.already_saved = True
        else:
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Logs it as hyperparameters; the first process calls this."""
        values = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(values)


class ErprmCLI(LightningCLI):
    """LightningCLI with the package's defaults.

    ``model`` and ``data`` are given as ``class_path`` and ``init_args``; without ``class_path`` they are
    :class:`ProcessRewardModel` and :class:`ProcessRewardDataModule`.
    """

    def __init__(self, *args: Any, command: str, **kwargs: Any) -> None:
        """Takes the one of Lightning's subcommands that is run; parsers for the others are not made."""
        self._command = command
        self._arguments: list[str] = kwargs["args"][1:]
        self._record = EvaluationRecord()
        super().__init__(*args, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses the command line and the files it names; ``~`` at the start of a value is the home folder."""
        super().parse_arguments(parser, args)
        for key, value in list(self.config.items()):
            if isinstance(value, str | list | dict):
                self.config[key] = with_home(value)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The one that is run."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Lightning's, without its own list of results: a table of them ends the command."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if "verbose" in self._subcommand_method_arguments[subcommand]:
            parser.set_defaults({"verbose": False})
        return parser

    def _parse_ckpt_path(self) -> None:
        """Leaves out what Lightning 2.6 does here: to put hyperparameters of a checkpoint over the command line's."""

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """A trainer that writes checkpoints whole, and in ``fit`` saves when it is told to end."""
        settings = self._get(self.config_init, "trainer")
        plugins, callbacks = (_as_list(settings.get(key)) for key in ("plugins", "callbacks"))
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(WholeCheckpointIO())
        if self.subcommand == "fit" and not any(isinstance(callback, SaveOnSignal) for callback in callbacks):
            callbacks.append(SaveOnSignal())
        callbacks.append(self._record)
        try:
            return super().instantiate_trainer(plugins=plugins, callbacks=callbacks, **kwargs)
        except (TypeError, ValueError) as error:
            if is_refused_by(error, "lightning"):
                raise UsageError(f"trainer: {error}") from error
            raise

    def fit(self, ckpt_path: str | None = None, **kwargs: Any) -> None:
        """``Trainer.fit``, for which ``ckpt_path: last`` is the newest checkpoint of the earlier runs as well.

        What is resumed goes on in the folder of the run that wrote the checkpoint.
        """
        if ckpt_path == "last":
            ckpt_path = newest_checkpoint(self.trainer)
        continue_version(self.trainer, ckpt_path)
        self.trainer.fit(ckpt_path=ckpt_path, **kwargs)

    def after_fit(self) -> None:
        """Shows what came out; the first process does."""
        trainer: L.Trainer = self.trainer
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        console = Console(highlight=False)
        console.print(run_table(trainer, self._record).rich())
        if (following := self.next_command()) is not None:
            # Not in the table, which would fold it.
            console.print(f"next: {following}", soft_wrap=True, markup=False)

    after_validate = after_test = after_fit

    def next_command(self) -> str | None:
        """What to type after this command, if that is plain."""
        trainer = self.trainer
        if self._command == "test":
            folders = result_folders(trainer)
            return shlex.join(["erprm", "report", shown_path(folders[0].parent)]) if folders else None
        has_test_data = getattr(self.datamodule, "test_rollouts", None) is not None or any(
            getattr(callback, "brings_test_data", False)
            for callback in trainer.callbacks  # type: ignore[attr-defined]
        )
        if has_test_data and self._command == "validate":
            return shlex.join(["erprm", "test", *self._arguments])
        best, exported = best_checkpoint(trainer), exported_models(trainer)
        if has_test_data and best is not None:
            checkpoint = ["--ckpt_path", shown_path(Path(best.best_model_path))]
            return shlex.join(["erprm", "test", *_without_checkpoint(self._arguments), *checkpoint])
        if exported:
            return shlex.join(["erprm", "score", "--model", shown_path(exported[0])]) + " --question ... --solution ..."
        return None

    default_model = "erprm.models.ProcessRewardModel"
    default_data = "erprm.data.datamodule.ProcessRewardDataModule"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Sets the defaults of the package."""
        parser.set_defaults({"model": {"class_path": self.default_model}, "data": {"class_path": self.default_data}})


class PolicyCLI(ErprmCLI):
    """The same for a policy."""

    default_model = "erprm.models.PolicyModel"
    default_data = "erprm.data.policy.PolicyDataModule"

    def next_command(self) -> None:
        """A policy may be for many things."""


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _without_checkpoint(arguments: Sequence[str]) -> list[str]:
    """Arguments without ``--ckpt_path`` and its value."""
    kept, is_value = [], False
    for argument in arguments:
        if not is_value and not argument.startswith("--ckpt_path"):
            kept.append(argument)
        is_value = argument == "--ckpt_path"
    return kept


def main(arguments: Sequence[str]) -> int:
    """Runs a LightningCLI subcommand."""
    # `test` and `predict` take any scorer.
    return run_lightning(ErprmCLI, L.LightningModule, ProcessRewardDataModule, arguments, prog="erprm")


def run_lightning(
    cli: type[ErprmCLI],
    model: type[L.LightningModule],
    data: type[L.LightningDataModule],
    arguments: Sequence[str],
    prog: str,
) -> int:
    """Runs a LightningCLI."""
    torch.set_float32_matmul_precision("high")
    # Lightning suspects a mistake when it is handed arguments rather than left to read the process's own.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    cli(
        model,
        data,
        seed_everything_default=0,
        # The module takes its optimizer and its schedule as settings of its own.
        auto_configure_optimizers=False,
        parser_class=ErprmArgumentParser,
        parser_kwargs={"prog": prog},
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=WholeConfig,
        # The name keeps it off a config.yaml of the user's, since without a logger it goes into the working folder.
        save_config_kwargs={"overwrite": True, "config_filename": "resolved_config.yaml"},
        args=list(arguments),
        command=arguments[0],
    )
    return 0
