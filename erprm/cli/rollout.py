"""``erprm rollout``: rollout records from a policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from erprm.cli.commands import parse_settings
from erprm.inherited_help import inherits_help
from erprm.rollout.config import RolloutConfig


@inherits_help
@dataclass
class RolloutCommand(RolloutConfig):
    """What to sample, from which policy, and where to write it.

    Attributes:
        verify: make nothing; read everything in ``output_dir`` again and report what is wrong.
    """

    verify: bool = False


def main(arguments: Sequence[str]) -> int:
    """Makes the records, or verifies them; an error of the settings ends the program."""
    command, *keys = arguments
    if any(key.partition("=")[0] == "--verify" for key in keys):
        # The model is not needed then, though a configuration may name it.
        keys = ["--model", "", *keys]
    config = parse_settings(RolloutCommand, [command, *keys])

    from erprm.engines.base import EngineError
    from erprm.rollout.running.pipeline import run_rollouts
    from erprm.rollout.running.ray_executor import ActorError
    from erprm.rollout.running.shard_maker import TooManyRejectedError
    from erprm.rollout.running.verification import verify

    try:
        if config.verify:
            found = verify(config.output_dir)
            print(found)
            return 0 if found.is_whole else 1
        run_rollouts(config)
    except (ValueError, OSError, ImportError, EngineError, TooManyRejectedError, ActorError) as error:
        print(f"erprm rollout: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("erprm rollout: interrupted; the same command continues the run", file=sys.stderr)
        return 130
    return 0
