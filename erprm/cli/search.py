"""``erprm search``: solves problems with a policy that a step scorer guides, under budgets of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from erprm.cli.commands import parse_settings
from erprm.search.config import SearchConfig


def main(arguments: Sequence[str]) -> int:
    """Searches, prints a table, and writes it and a figure beside the results."""
    config = parse_settings(SearchConfig, arguments)

    from rich.console import Console

    from erprm.runs.atomic import write_text
    from erprm.search.results import search_figure, search_table
    from erprm.search.run import run_search

    console, folder = Console(), Path(config.output_dir)
    results = run_search(config)
    console.print(search_table(results).rich())
    write_text(search_table(results, details=True).markdown(), folder / "results.md")
    if results.graded:
        try:
            search_figure(results, folder / "accuracy.png")
        except ImportError as error:
            console.print(f"no figure: {error}")
    return 0
