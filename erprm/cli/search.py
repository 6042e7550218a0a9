"""``erprm search``: solutions by a policy that a scorer of steps guides, under budgets of tokens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from erprm.cli.commands import parse_settings
from erprm.engines.base import EngineError
from erprm.runs.atomic import write_text
from erprm.search.config import SearchConfig
from erprm.search.results import SearchResults, search_figure, search_table
from erprm.search.run import run_search


def main(arguments: Sequence[str]) -> int:
    """Searches, prints a table, and writes it and a figure beside the results."""
    config = parse_settings(SearchConfig, arguments)
    console = Console()
    try:
        results = run_search(config)
        console.print(search_table(results).rich())
        _write(results, Path(config.output_dir), console)
    except (ValueError, OSError, ImportError, EngineError) as error:
        print(f"erprm search: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("erprm search: interrupted; the same command continues the run", file=sys.stderr)
        return 130
    return 0


def _write(results: SearchResults, folder: Path, console: Console) -> None:
    write_text(search_table(results, details=True).markdown(), folder / "results.md")
    if not results.graded:
        return
    try:
        search_figure(results, folder / "accuracy.png")
    except ImportError as error:
        console.print(f"no figure: {error}")
