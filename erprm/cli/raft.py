"""``erprm raft``: a policy improved by a reward model, round by round."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from erprm.cli.commands import parse_settings
from erprm.errors import InputError, UsageError
from erprm.raft.config import RaftConfig
from erprm.runs.atomic import write_json, write_text


def main(arguments: Sequence[str]) -> int:
    """Runs RAFT, and shows the evaluation of every round."""
    config = parse_settings(RaftConfig, arguments)

    from rich.console import Console

    from erprm.raft.evaluation import evaluations_table
    from erprm.raft.rounds import run_raft

    _check_sft(config)
    evaluations = run_raft(config)
    table = evaluations_table(evaluations)
    Console().print(table.rich())
    write_text(table.markdown(), Path(config.output_dir, "results.md"))
    return 0


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
