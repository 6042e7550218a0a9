"""``erprm data stats PATH...``: statistics of step-labelled data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from erprm.cli.commands import POSITIONALS, key, parse_settings
from erprm.data.formats import FormatName
from erprm.eta import read_etas

_FIGURES = (".png", ".svg", ".pdf")


@dataclass
class StatsConfig:
    """Summarises step-labelled data: sizes, labels, duplicates, problems shared with other data.

    Attributes:
        paths: files (of any layout that ``erprm convert`` reads), folders of Parquet files, or hub ids.
        source_format: layout of all of them; ``auto`` tells it by the fields of the first row of each file.
        on_error: what a row that cannot be used does: ``stop`` ends the command, ``skip`` leaves it out and counts it.
        etas: the etas at which the labels of the steps are counted; 0 is ``soft``, ``inf`` is ``hard``.
        tokenizer: folder or hub id of a tokenizer, to count tokens; null counts words and characters alone.
        gsm8k_test: the GSM8K test problems to look for, a file or a hub id; null looks for none.
        math_500: the MATH-500 problems to look for, a file or a hub id; null looks for none.
        plot: file for the figure, ``.png``, ``.svg`` or ``.pdf``; null draws none.
        json: file for all numbers, as JSON.
        split: split of the hub data sets among the paths.
        neutral: as in ``erprm convert``.
        alternatives: as in ``erprm convert``.
        first_step: as in ``erprm convert``.
    """

    paths: list[str] = field(metadata=POSITIONALS)
    source_format: FormatName = field(default="auto", metadata=key("from"))
    on_error: Literal["stop", "skip"] = "stop"
    etas: str | Sequence[float | str] = field(default_factory=lambda: [-4.0, 0.0, 4.0, float("inf")])
    tokenizer: str | None = None
    gsm8k_test: str | None = "openai/gsm8k"
    math_500: str | None = "HuggingFaceH4/MATH-500"
    plot: str | None = None
    json: str | None = None
    split: str = "train"
    neutral: float | None = 1.0
    alternatives: bool = True
    first_step: str = "Step 1:"

    def __post_init__(self) -> None:
        read_etas(self.etas)
        if self.plot is not None and Path(self.plot).suffix not in _FIGURES:
            raise ValueError(f"plot is {self.plot!r}; its name must end in {', '.join(_FIGURES)}")


def main(arguments: Sequence[str]) -> int:
    """Runs the one command there is, ``stats``."""
    command, *rest = arguments
    if rest[:1] != ["stats"]:
        print(f"usage: erprm {command} stats PATH... [--KEY VALUE ...]", file=sys.stderr)
        return 0 if rest[:1] in (["-h"], ["--help"]) else 2
    config = parse_settings(StatsConfig, [f"{command} stats", *rest[1:]])

    from rich.console import Console

    from erprm.data.formats.importing import ImportOptions
    from erprm.data.statistics import shared_problems
    from erprm.report.data_statistics import (
        Benchmarks,
        collect_statistics,
        draw_statistics,
        statistics_tables,
        write_numbers,
    )

    console = Console()
    data = collect_statistics(
        config.paths,
        format_name=config.source_format,
        options=ImportOptions(config.first_step, config.neutral, config.alternatives),
        split=config.split,
        skip_rejected=config.on_error == "skip",
        etas=read_etas(config.etas),
        tokenizer=config.tokenizer,
        benchmarks=Benchmarks(config.gsm8k_test, config.math_500),
        outputs=[path for path in (config.json, config.plot) if path is not None],
        console=console,
    )
    shared = shared_problems(data)
    for table in statistics_tables(data, shared):
        console.print(table.rich())
    if config.json is not None:
        write_numbers(Path(config.json), config.paths, data)
        console.print(f"numbers written to {config.json}")
    if config.plot is not None:
        draw_statistics(data, shared, config.plot)
        console.print(f"figure written to {config.plot}")
    return 0
