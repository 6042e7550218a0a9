"""``erprm raft``: a policy improved by a reward model, round by round."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from erprm.cli.commands import parse_settings
from erprm.errors import InputError, UsageError
from erprm.raft.config import RaftConfig
from erprm.runs.atomic import write_json, write_text


def main(arguments: Sequence[str]) -> int:
    """Runs RAFT, and shows the evaluation of every round."""
    config = parse_settings(RaftConfig, arguments)

    from rich.console import Console

    from erprm.raft.evaluation import evaluations_table, variety_table
    from erprm.raft.rounds import BEST_FILE, run_raft

    _check_sft(config)
    evaluations = run_raft(config)
    tables = [evaluations_table(evaluations), variety_table(evaluations)]
    folder = Path(config.output_dir)
    best = _best_line(json.loads((folder / BEST_FILE).read_text(encoding="utf-8")), config)
    for table in tables:
        Console().print(table.rich())
    Console().print(best, highlight=False, markup=False, soft_wrap=True)
    write_text("\n".join([*(table.markdown() for table in tables), f"{best}\n"]), folder / "results.md")
    return 0


def _best_line(best: dict[str, Any], config: RaftConfig) -> str:
    found = f"Best by {config.best_by}, {best[config.best_by]:.1%}"
    if not best["round"]:
        return f"{found}: the initial policy."
    if best["policy"] is None:
        return f"{found}: round {best['round']}, whose policy was deleted while best_by or keep_rounds was another."
    return f"{found}: round {best['round']}, in {Path(config.output_dir, best['policy'])}."


def _check_sft(config: RaftConfig) -> None:
    """Parses what the first round will give to ``erprm sft``, before anything is sampled.

    Raises:
        InputError: with what the parser says.
    """
    from erprm.cli.sft import main as sft
    from erprm.raft.fine_tuning import SETTINGS_FILE, check_sft, sft_settings

    check_sft(config.sft)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SETTINGS_FILE
        write_json(sft_settings(config, 1, config.model, Path("samples.jsonl"), Path(folder)), file)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
                sft(["sft", "--config", str(file), "--print_config"])
        except UsageError as error:
            raise InputError(f"sft: {error}") from error
