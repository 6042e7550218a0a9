"""Statistics of several sets of step-labelled data, and of their overlap with each other and with benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from erprm.data.files.hub import is_hub_id
from erprm.data.files.json_rows import Place, stop
from erprm.data.files.row_files import data_files
from erprm.data.formats.importing import ImportOptions, RecordImport
from erprm.data.formats.names import FormatName
from erprm.data.labels import label_eta
from erprm.data.sources import load_problems
from erprm.data.statistics import DataStatistics, TokenCounter, problem_fingerprint, shared_problems
from erprm.report.tables import short_names
from erprm.runs.atomic import write_json
from erprm.runs.lock import sole_writer

_GSM8K, _MATH_500 = "openai/gsm8k", "HuggingFaceH4/MATH-500"


@dataclass(frozen=True)
class Benchmarks:
    """Test problems to look for, as files or hub ids; None for a benchmark that is not looked for."""

    gsm8k_test: str | None = _GSM8K
    math_500: str | None = _MATH_500


def collect_statistics(
    paths: Sequence[str],
    *,
    format_name: FormatName,
    options: ImportOptions,
    split: str,
    skip_rejected: bool,
    etas: Sequence[float],
    tokenizer: str | None,
    benchmarks: Benchmarks,
    console: Console,
) -> list[DataStatistics]:
    """Reads all data once.

    Args:
        paths: files, folders of Parquet files, or hub ids.
        format_name: layout of all of them.
        options: what some layouts leave open.
        split: of the hub data sets.
        skip_rejected: leave rows that cannot be used out, and say how many; otherwise the first ends the reading.
        etas: at which the labels of the steps are counted.
        tokenizer: folder or hub id; None counts no tokens.
        benchmarks: problems to look for.
        console: where notes go.

    Raises:
        ValueError: if a set holds no labelled solution.
        RowError: at a row that cannot be used, unless these are left out.
    """
    for path in paths:
        if not is_hub_id(path):
            data_files(path, "data")  # complains before anything is loaded
    label_etas = [label_eta("er", eta) for eta in etas]
    count_tokens = _token_counter(tokenizer) if tokenizer else None
    looked_for = {
        name: problems
        for name, problems in (
            ("GSM8K test", _benchmark("gsm8k", benchmarks.gsm8k_test, _GSM8K, console)),
            ("MATH-500", _benchmark("math", benchmarks.math_500, _MATH_500, console)),
        )
        if problems is not None
    }
    data = []
    for path, name in zip(paths, short_names(paths), strict=True):
        rejected = _RejectedRows()
        reject = rejected.add if skip_rejected else stop
        statistics = DataStatistics(name, label_etas, looked_for, count_tokens)
        statistics.add(RecordImport(path, format_name, options, split=split, reject=reject))
        if not statistics.solutions:
            raise ValueError(f"{path}: holds no labelled solution" + (f"; {rejected.first}" if rejected.count else ""))
        if rejected.count:
            console.print(f"{rejected.count} row(s) of {path} left out, the first: {rejected.first}", style="yellow")
        data.append(statistics)
    return data


@dataclass
class _RejectedRows:
    """Number of rows left out, and the reason for the first."""

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


def write_numbers(file: Path, paths: Sequence[str], data: Sequence[DataStatistics]) -> None:
    """Writes all numbers as JSON."""
    shared = [{"data": [one.name, other.name], "problems": problems} for one, other, problems in shared_problems(data)]
    described = [{"path": path, **one.to_dict()} for path, one in zip(paths, data, strict=True)]
    content = {"data": described, "shared_problems": shared}
    with sole_writer(file):
        write_json(content, file)
