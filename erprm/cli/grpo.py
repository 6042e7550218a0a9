"""``erprm grpo``: a policy trained by GRPO with an advantage for each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erprm.cli.commands import parse_settings
from erprm.grpo.config import GrpoConfig


def main(arguments: Sequence[str]) -> int:
    """Trains, prints the evaluations, and writes them as a table and a figure beside the policy."""
    config = parse_settings(GrpoConfig, arguments)

    from rich.console import Console

    from erprm.grpo.evaluation import evaluations_table, hacking_figure
    from erprm.grpo.run import run_grpo
    from erprm.runs.atomic import write_text

    console, folder = Console(), Path(config.output_dir)
    evaluations = run_grpo(config)
    table = evaluations_table(evaluations)
    console.print(table.rich())
    write_text(table.markdown(), folder / "results.md")
    try:
        hacking_figure(evaluations, folder / "hacking.png")
    except ImportError as error:
        console.print(f"no figure: {error}")
    return 0
