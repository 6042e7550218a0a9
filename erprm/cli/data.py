"""``erprm data stats PATH...``: what is in step-labelled data."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console

from erprm.cli.commands import POSITIONALS, key, parse_settings
from erprm.data.files.hub import is_hub_id
from erprm.data.files.json_rows import Place, stop
from erprm.data.files.row_files import data_files
from erprm.data.formats.importing import FormatName, ImportOptions, RecordImport
from erprm.data.labels import label_eta
from erprm.data.sources import load_problems
from erprm.data.statistics.summary import DataStatistics, TokenCounter, problem_fingerprint, shared_problems
from erprm.report.data_statistics import draw_statistics, statistics_tables
from erprm.report.short_names import short_names
from erprm.runs.atomic import whole_file

_GSM8K, _MATH_500 = "openai/gsm8k", "HuggingFaceH4/MATH-500"


@dataclass
class StatsConfig:
    """Tells what is in step-labelled data: sizes, labels, duplicates, problems shared with other data.

    Attributes:
        paths: files (of any layout that ``erprm convert`` reads), folders of Parquet files, or hub ids.
        source_format: layout of all of them; ``auto`` tells it by the fields of the first row of each file.
        on_error: what a row that cannot be used does: ``stop`` ends the command, ``skip`` leaves it out and counts it.
        etas: the etas at which the labels of the steps are counted; 0 are soft labels, ``.inf`` are hard ones.
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
    etas: list[float] = field(default_factory=lambda: [-4.0, 0.0, 4.0, float("inf")])
    tokenizer: str | None = None
    gsm8k_test: str | None = _GSM8K
    math_500: str | None = _MATH_500
    plot: str | None = None
    json: str | None = None
    split: str = "train"
    neutral: float | None = 1.0
    alternatives: bool = True
    first_step: str = "Step 1:"


def main(arguments: Sequence[str]) -> int:
    """Runs the one command there is, ``stats``."""
    command, *rest = arguments
    if rest[:1] != ["stats"]:
        print(f"usage: erprm {command} stats PATH... [--KEY VALUE ...]", file=sys.stderr)
        return 0 if rest[:1] in (["-h"], ["--help"]) else 2
    config = parse_settings(StatsConfig, [f"{command} stats", *rest[1:]])
    console = Console()
    data = _statistics(config, console)
    for table in statistics_tables(data, shared_problems(data)):
        console.print(table)
    _write(config, data, console)
    return 0


def _statistics(config: StatsConfig, console: Console) -> list[DataStatistics]:
    for path in config.paths:
        if not is_hub_id(path):
            data_files(path, "data")  # complains before anything is loaded
    etas = [label_eta("er", eta) for eta in config.etas]
    count_tokens = _token_counter(config.tokenizer) if config.tokenizer else None
    benchmarks = {
        name: problems
        for name, problems in (
            ("GSM8K test", _benchmark("gsm8k", config.gsm8k_test, _GSM8K, console)),
            ("MATH-500", _benchmark("math", config.math_500, _MATH_500, console)),
        )
        if problems is not None
    }
    options = ImportOptions(config.first_step, config.neutral, config.alternatives)
    data = []
    for path, name in zip(config.paths, short_names(config.paths), strict=True):
        rejected = _RejectedRows()
        reject = rejected.add if config.on_error == "skip" else stop
        statistics = DataStatistics(name, etas, benchmarks, count_tokens)
        statistics.add(RecordImport(path, config.source_format, options, split=config.split, reject=reject))
        if not statistics.solutions:
            raise ValueError(f"{path}: holds no labelled solution" + (f"; {rejected.first}" if rejected.count else ""))
        if rejected.count:
            console.print(f"{rejected.count} row(s) of {path} left out, the first: {rejected.first}", style="yellow")
        data.append(statistics)
    return data


@dataclass
class _RejectedRows:
    """How many rows were left out, and why the first."""

    count: int = 0
    first: str = ""

    def add(self, place: Place, reason: str, row: object) -> None:
        self.first = self.first or f"{place}: {reason}"
        self.count += 1


def _benchmark(source: str, path: str | None, default: str, console: Console) -> set[int] | None:
    """Fingerprints of a benchmark's problems; None if there are none to look for."""
    if path is None:
        return None
    try:
        problems = load_problems(source, None if path == default else path, split="test")
    except FileNotFoundError as error:
        if path != default:
            raise
        # Without the network the rest can still be told.
        console.print(f"not looked for: {error}", style="yellow")
        return None
    return {problem_fingerprint(problem.question) for problem in problems}


def _token_counter(name: str) -> TokenCounter:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    return lambda texts: [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _write(config: StatsConfig, data: Sequence[DataStatistics], console: Console) -> None:
    if config.json is not None:
        shared = [
            {"data": [one.name, other.name], "problems": problems} for one, other, problems in shared_problems(data)
        ]
        described = [{"path": path, **one.to_dict()} for path, one in zip(config.paths, data, strict=True)]
        content = {"data": described, "shared_problems": shared}
        with whole_file(Path(config.json)) as file:
            file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
        console.print(f"numbers written to {config.json}")
    if config.plot is not None:
        draw_statistics(data, shared_problems(data), config.plot)
        console.print(f"figure written to {config.plot}")
