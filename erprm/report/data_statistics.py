"""Statistics of step-labelled data, and of its overlap with other data and with benchmarks, as tables and figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from erprm.data.files.hub import is_hub_id
from erprm.data.files.json_rows import Place, stop
from erprm.data.files.row_files import data_files
from erprm.data.formats import FormatName
from erprm.data.formats.importing import ImportOptions, RecordImport
from erprm.data.labels import label_eta
from erprm.data.sources import load_problems
from erprm.data.statistics import (
    LABEL_BINS,
    DataStatistics,
    TokenCounter,
    mean,
    problem_fingerprint,
    quantile,
    shared_problems,
)
from erprm.engines.model_files import load_tokenizer
from erprm.report.figures import dress, empty_figure
from erprm.report.tables import Table, short_names
from erprm.runs.atomic import refuse_input, write_figure, write_json
from erprm.runs.lock import sole_writer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    outputs: Sequence[str],
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
        outputs: files that are written later, which must be none of those read.
        console: where notes go.

    Raises:
        ValueError: if a set holds no labelled solution, or an output is one of the files that are read.
        RowError: at a row that cannot be used, unless these are left out.
    """
    # Complains before anything is loaded.
    read = [file for path in paths if not is_hub_id(path) for file in data_files(path, "data")]
    for output in outputs:
        refuse_input(output, [*read, *filter(None, (benchmarks.gsm8k_test, benchmarks.math_500))])
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
    tokenizer = load_tokenizer(name)
    return lambda texts: [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def write_numbers(file: Path, paths: Sequence[str], data: Sequence[DataStatistics]) -> None:
    """Writes all numbers as JSON."""
    shared = [{"data": [one.name, other.name], "problems": problems} for one, other, problems in shared_problems(data)]
    described = [{"path": path, **one.to_dict()} for path, one in zip(paths, data, strict=True)]
    content = {"data": described, "shared_problems": shared}
    with sole_writer(file):
        write_json(content, file)


Shared = Sequence[tuple[DataStatistics, DataStatistics, int]]
# Bounds of the columns of the table of labels, between 0 and 1.
_QUARTERS = ("(0, ¼)", "[¼, ½)", "[½, ¾)", "[¾, 1)")
_LENGTH_UNITS = ("tokens", "words", "characters")


def statistics_tables(data: Sequence[DataStatistics], shared: Shared) -> list[Table]:
    """Tables of sizes, of labels, and of problems that are elsewhere, too."""
    tables = [_sizes(data), *map(_labels, data)]
    if shared:
        tables.append(_shared(shared))
    if data[0].benchmarks:
        tables.append(_benchmarks(data))
    return tables


def _sizes(data: Sequence[DataStatistics]) -> Table:
    rows = [
        ["solutions", *(f"{s.solutions:,}" for s in data)],
        ["problems", *(f"{s.problems:,}" for s in data)],
        ["right answers", *(_percent(s.correct, s.solutions) for s in data)],
        ["duplicates", *(f"{s.duplicates:,} ({_percent(s.duplicates, s.solutions)})" for s in data)],
        ["steps of a solution", *(_distribution(s.steps) for s in data)],
        ["completions of a step", *(_distribution(s.completions) for s in data)],
        *_worth(data),
        *([f"{unit} of a solution", *(_distribution(s.lengths[unit]) for s in data)] for unit in data[0].lengths),
    ]
    footnote = "distributions: mean · median · 90% at most · maximum"
    return Table("Sizes", ["", *(s.name for s in data)], rows, footnote=footnote)


def _worth(data: Sequence[DataStatistics]) -> list[list[str]]:
    noise = [statistics.label_noise for statistics in data]
    if not any(noise):
        return []
    return [
        ["steps whose completions differ", *(_percent(n.disagreeing, n.steps) if n else "-" for n in noise)],
        ["signal in soft labels", *(_share(n.signal) if n else "-" for n in noise)],
        ["AUROC at most", *(_share(n.auroc_ceiling) if n else "-" for n in noise)],
    ]


def _share(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}%"


def _labels(statistics: DataStatistics) -> Table:
    rows = []
    for eta, labels in statistics.labels.items():
        quarters = labels.between.reshape(len(_QUARTERS), -1).sum(axis=1)
        shares = [_percent(int(count), labels.count, "") for count in (labels.zeros, *quarters, labels.ones)]
        rows.append([eta_name(eta), f"{labels.mean:.3f}", *shares])
    header = ["eta", "mean", "0", *_QUARTERS, "1"]
    title = f"Labels of the steps of {statistics.name}, %"
    return Table(title, header, rows, align="r" * len(header), whole_numbers=True)


def _shared(shared: Shared) -> Table:
    rows = [
        [one.name, other.name, f"{problems:,}", _percent(problems, one.problems), _percent(problems, other.problems)]
        for one, other, problems in shared
    ]
    found = [place for place, (_, _, problems) in enumerate(shared) if problems]
    header = ["", "and", "problems", "of the first", "of the second"]
    return Table("Problems in both of two data sets", header, rows, align="llrrr", warnings=found)


def _benchmarks(data: Sequence[DataStatistics]) -> Table:
    rows = [
        [
            s.name,
            *(
                f"{o.problems:,} · {o.solutions:,} ({_percent(o.solutions, s.solutions)})"
                for o in s.benchmarks.values()
            ),
        ]
        for s in data
    ]
    found = [place for place, s in enumerate(data) if any(overlap.problems for overlap in s.benchmarks.values())]
    header = ["data", *(f"{name} ({overlap.of:,})" for name, overlap in data[0].benchmarks.items())]
    footnote = "by normalised text: problems · solutions to them"
    return Table("Benchmark problems in the data", header, rows, footnote=footnote, warnings=found)


def eta_name(eta: float) -> str:
    """An eta for a reader, with the name that some values have.

    >>> eta_name(0.0), eta_name(2.5), eta_name(float("inf"))
    ('0 (soft)', '2.5', 'inf (hard)')
    """
    return f"{eta:g}" + {0.0: " (soft)", math.inf: " (hard)"}.get(eta, "")


def _percent(part: int, whole: int, unit: str = "%") -> str:
    return f"{100 * part / whole:.1f}{unit}" if whole else "-"


def _distribution(counts: Counter[int]) -> str:
    if not counts:
        return "-"
    return f"{mean(counts):.1f} · {quantile(counts, 0.5)} · {quantile(counts, 0.9)} · {max(counts)}"


# The figure -------------------------------------------------------------------------------------------------------


def draw_statistics(data: Sequence[DataStatistics], shared: Shared, path: str | Path) -> None:
    """Draws the steps and the length of a solution, what appears twice or elsewhere, and the labels of each data set.

    Raises:
        ImportError: if matplotlib is not installed (extra ``report``).
        ValueError: if the name of the file is that of no kind of figure.
    """
    columns = 2 if len(data) == 1 else 3
    rows = math.ceil((3 + len(data)) / columns)
    figure = empty_figure(5 * columns, 3.6 * rows)
    steps, lengths, repeats, *others = figure.subplots(rows, columns).flat
    _draw_steps(steps, data)
    _draw_lengths(lengths, data)
    _draw_repeats(repeats, data, shared)
    for axes, statistics in zip(others, data, strict=False):
        _draw_labels(axes, statistics)
    for axes in others[len(data) :]:
        axes.set_axis_off()
    write_figure(figure, Path(path), dpi=130)


def _draw_steps(axes: Axes, data: Sequence[DataStatistics]) -> None:
    # Beyond what 99 in 100 solutions have, a few would squeeze the rest.
    most = max(quantile(statistics.steps, 0.99) for statistics in data)
    numbers = np.arange(1, most + 1)
    for statistics in data:
        shares = [100 * statistics.steps[number] / statistics.solutions for number in numbers.tolist()]
        axes.plot(numbers, shares, marker="o", markersize=3, label=_shortened(statistics.name, 28))
    _dress(axes, "Steps of a solution", "steps", "solutions, %")
    axes.legend(fontsize=7)


def _draw_lengths(axes: Axes, data: Sequence[DataStatistics]) -> None:
    unit = next(unit for unit in _LENGTH_UNITS if unit in data[0].lengths)
    most = max(quantile(statistics.lengths[unit], 0.99) for statistics in data)
    edges = np.linspace(0, most, 41)
    for statistics in data:
        counts = statistics.lengths[unit]
        heights, _ = np.histogram(list(counts), bins=edges, weights=list(counts.values()))
        axes.stairs(
            100 * heights / statistics.solutions, edges, label=_shortened(statistics.name, 28), fill=True, alpha=0.35
        )
    _dress(axes, f"Length of a solution in {unit}", unit, "solutions, %")
    axes.legend(fontsize=7)


def _draw_repeats(axes: Axes, data: Sequence[DataStatistics], shared: Shared) -> None:
    """A group of bars for each place where something could be a second time, a bar for each data set."""
    height = 0.8 / len(data)
    groups = _repeats(data, shared)
    for position, parts in enumerate(groups.values()):
        for number, part in enumerate(parts):
            if part is not None:
                share = 100 * part[0] / part[1]
                bar = axes.barh(position + (number + 0.5) * height - 0.4, share, height, color=f"C{number}")
                axes.bar_label(bar, [f"{part[0]:,}"], padding=3, fontsize=7)
    axes.set_yticks(range(len(groups)), list(groups), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, 1.15 * axes.get_xlim()[1]))
    _dress(axes, "There twice, or elsewhere too", "solutions (in other data: problems), %", "")


def _repeats(data: Sequence[DataStatistics], shared: Shared) -> dict[str, list[tuple[int, int] | None]]:
    """Group -> for each data set how many of how many; None for a data set beside itself."""
    groups: dict[str, list[tuple[int, int] | None]] = {"duplicates": [(s.duplicates, s.solutions) for s in data]}
    for name in data[0].benchmarks:
        groups[f"in {name}"] = [(s.benchmarks[name].solutions, s.solutions) for s in data]
    if shared:
        counts = {frozenset((one.name, other.name)): count for one, other, count in shared}
        for other in data:
            groups[f"in {_shortened(other.name, 20)}"] = [
                None if s is other else (counts[frozenset((s.name, other.name))], s.problems) for s in data
            ]
    return groups


def _draw_labels(axes: Axes, statistics: DataStatistics) -> None:
    width = 0.8 / len(statistics.labels)
    positions = np.arange(LABEL_BINS + 2)
    for number, (eta, labels) in enumerate(statistics.labels.items()):
        shares = 100 * np.array([labels.zeros, *labels.between, labels.ones]) / max(labels.count, 1)
        axes.bar(positions + (number + 0.5) * width - 0.4, shares, width, label=f"eta {eta_name(eta)}")
    quarter = LABEL_BINS // 4
    ticks = [0, *(0.5 + quarter * number for number in range(1, 4)), LABEL_BINS + 1]
    axes.set_xticks(ticks, ["exactly 0", "¼", "½", "¾", "exactly 1"])
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    _dress(axes, f"Labels of {_shortened(statistics.name, 36)}", "label of a step", "steps, %")
    axes.legend(fontsize=8, loc="upper center")


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    dress(axes, title, x, y, title_size=10, legend_size=None)
    axes.spines[["top", "right"]].set_visible(False)


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 8]}…{name[-7:]}"
