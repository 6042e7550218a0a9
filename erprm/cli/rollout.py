"""``erprm rollout``: rollout records from a policy."""

from __future__ import annotations

from collections.abc import Sequence

from erprm.cli.commands import parse_settings
from erprm.rollout.config import RolloutConfig
from erprm.rollout.pipeline import run_rollouts


def main(arguments: Sequence[str]) -> int:
    """Makes the records; an error of the settings ends the program."""
    run_rollouts(parse_settings(RolloutConfig, arguments))
    return 0
