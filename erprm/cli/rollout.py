"""``erprm rollout``: rollout records from a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erprm.cli.commands import parse_settings
from erprm.inherited_help import inherits_help
from erprm.rollout.config import RolloutConfig


@inherits_help
@dataclass
class RolloutCommand(RolloutConfig):
    """Settings of a rollout run: the samples to draw, the policy, and the output folder.

    Attributes:
        verify: make nothing; read everything in ``output_dir`` again and report what is wrong.
    """

    verify: bool = False


def main(arguments: Sequence[str]) -> int:
    """Makes the records, or verifies them."""
    command, *keys = arguments
    if any(key.partition("=")[0] == "--verify" for key in keys):
        # The model is not needed then, though a configuration may name it.
        keys = ["--model", "", *keys]
    config = parse_settings(RolloutCommand, [command, *keys])

    if config.verify:
        from erprm.rollout.running.verification import verify

        found = verify(config.output_dir)
        print(found)
        return 0 if found.is_whole else 1

    from erprm.rollout.running.pipeline import run_rollouts

    run_rollouts(config)
    return 0
