"""``erprm ablate``: measures the effect of eta with a model for each eta and seed, on the same rollouts and pool."""

from __future__ import annotations

from collections.abc import Sequence

from erprm.ablation.config import AblateConfig
from erprm.cli.commands import parse_settings

_FIT_PREFIX = "--fit."


def main(arguments: Sequence[str]) -> int:
    """Runs what is missing of the ablation, and writes what all of it says."""
    own, of_fit = _split(arguments)
    config = parse_settings(AblateConfig, own)

    from rich.console import Console

    from erprm.ablation.ablate import ablate

    ablate(config, of_fit, Console())
    return 0


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of ``fit`` without the prefix."""
    own: list[str] = []
    of_fit: list[str] = []
    target = own
    for argument in arguments:
        if argument.startswith("--"):
            target = of_fit if argument.startswith(_FIT_PREFIX) else own
        target.append(argument.replace(_FIT_PREFIX, "--", 1) if argument.startswith(_FIT_PREFIX) else argument)
    return own, of_fit
