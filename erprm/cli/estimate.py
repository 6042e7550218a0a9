"""``erprm estimate fit | rollout``: time, memory and tokens that a run will need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from erprm.cli.commands import CommandParser, parse_settings
from erprm.errors import UsageError
from erprm.estimate.config import EstimateConfig, RolloutEstimateConfig

_OTHER_KEYS_OF_FIT = ("seed_everything", "ckpt_path", "weights_only")


def main(arguments: Sequence[str]) -> int:
    """Runs what is estimated: the second argument."""
    commands = {"fit": _fit, "rollout": _rollout}
    named = arguments[1] if len(arguments) > 1 else None
    if named in ("-h", "--help"):
        print(f"usage: erprm estimate {{{','.join(commands)}}} [--KEY VALUE ...]; add --help for the keys of each")
        return 0
    if named not in commands:
        found = "nothing" if named is None else repr(named)
        print(f"erprm estimate: expected {' or '.join(map(repr, commands))} after it, found {found}", file=sys.stderr)
        return 2
    commands[named](arguments)
    return 0


def _fit(arguments: Sequence[str]) -> None:
    keys = list(arguments)[2:]
    if {"-h", "--help"} & set(keys):
        short = CommandParser(
            prog="erprm estimate fit",
            description="What a training needs, before it is started. Takes the keys of erprm fit, too: --config FILE, "
            "--model.KEY, --data.KEY, --trainer.KEY (erprm fit --help lists them).",
        )
        short.add_class_arguments(EstimateConfig, "estimate")
        short.print_help()
        return

    from rich.console import Console

    from erprm.cli.lightning import training_parser
    from erprm.data import ProcessRewardDataModule
    from erprm.estimate.fit import print_estimate

    parser = training_parser("estimate fit", _OTHER_KEYS_OF_FIT)
    parser.add_subclass_arguments(ProcessRewardDataModule, "data")
    parser.set_defaults({"data": {"class_path": "erprm.data.ProcessRewardDataModule"}})
    parser.add_argument("--trainer", type=dict[str, Any], default={}, help="the trainer's keys, as in the file")
    parser.add_class_arguments(EstimateConfig, "estimate")
    parsed = parser.parse_args(keys)
    try:
        settings = parser.instantiate_classes(parsed)
        print_estimate(settings.model, settings.data, settings.trainer, settings.estimate, Console())
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error


def _rollout(arguments: Sequence[str]) -> None:
    config = parse_settings(RolloutEstimateConfig, [f"{arguments[0]} rollout", *arguments[2:]])

    from rich.console import Console

    from erprm.estimate.rollout_report import estimate_from, print_estimate

    print_estimate(estimate_from(config), config, Console())
