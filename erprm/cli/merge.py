"""``erprm merge OUT IN...``: one folder of the parts of a rollout run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from erprm.cli.commands import POSITIONAL, POSITIONALS, parse_settings


@dataclass
class MergeConfig:
    """Merges folders into which parts of one rollout run were written.

    Attributes:
        output: folder for the whole run.
        folders: folders of the parts.
    """

    output: str = field(metadata=POSITIONAL)
    folders: list[str] = field(metadata=POSITIONALS)


def main(arguments: Sequence[str]) -> int:
    """Merges, and shows the counts of the whole."""
    config = parse_settings(MergeConfig, arguments)

    from rich.console import Console

    from erprm.rollout.running.reports import merge

    Console(stderr=True).print(merge(config.output, config.folders).render())
    return 0
