"""``erprm convert IN OUT``: step-labelled data from one layout to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from erprm.cli.commands import POSITIONAL, key, parse_settings
from erprm.data.files.json_rows import MAX_ROW_BYTES
from erprm.data.formats import ExportLabels, FormatName, TargetName
from erprm.eta import Eta, read_eta

if TYPE_CHECKING:
    from erprm.data.formats.conversion import Conversion


@dataclass
class ConvertConfig:
    """Turns step-labelled data of other projects into rollout records, and records into theirs.

    Attributes:
        input: file to read (``.jsonl``, ``.json``, either compressed by gzip or zstd, ``.parquet``), folder of Parquet
            files, or hub id.
        output: file to write; it appears only once it is complete.
        source_format: layout of the input; ``auto`` tells it by the fields of the first row of each file.
        target: layout of the output; by default by its name: ``.parquet`` records, ``.jsonl`` ``trl``, ``.json``
            ``official``.
        on_error: what a row that cannot be used does: ``stop`` ends the command with nothing written, ``skip`` leaves
            it out and writes it, with its file, line and the reason, to ``OUT.rejected.jsonl``.
        labels: from records: how completion rewards become the one label of a step.
        eta: from records: entropy regularization of ``er``.
        threshold: to ``trl``: write booleans, whether a label is at least this; null writes the labels themselves.
        exact: refuse a record whose question, steps and labels would not be read back from the output as they are.
        first_step: from ``official``: text with which the first step begins, the end of the question.
        neutral: from ``prm800k``: label of a step rated 0; null leaves it without a label, which ends the solution.
        alternatives: from ``prm800k``: make records of completions that were rated but not chosen, too.
        split: split of a hub data set, or of a folder with several.
        max_row_bytes: the longest row of JSON that is read.
    """

    input: str = field(metadata=POSITIONAL)
    output: str = field(metadata=POSITIONAL)
    source_format: FormatName = field(default="auto", metadata=key("from"))
    target: TargetName | None = field(default=None, metadata=key("to"))
    on_error: Literal["stop", "skip"] = "stop"
    labels: ExportLabels = "er"
    eta: Eta = 1.0
    threshold: float | None = None
    exact: bool = False
    first_step: str = "Step 1:"
    neutral: float | None = 1.0
    alternatives: bool = True
    split: str = "train"
    max_row_bytes: int = MAX_ROW_BYTES

    def __post_init__(self) -> None:
        self.eta = read_eta(self.eta)


def main(arguments: Sequence[str]) -> int:
    """Converts, and says what became of the rows."""
    config = parse_settings(ConvertConfig, arguments)

    from erprm.data.formats.conversion import convert
    from erprm.data.formats.exporting import ExportOptions
    from erprm.data.formats.importing import ImportOptions

    result = convert(
        config.input,
        config.output,
        format_name=config.source_format,
        target=config.target,
        skip_rejected=config.on_error == "skip",
        import_options=ImportOptions(config.first_step, config.neutral, config.alternatives),
        export_options=ExportOptions(config.labels, config.eta, config.threshold, config.exact),
        split=config.split,
        max_row_bytes=config.max_row_bytes,
    )
    _show(result, config.output)
    return 0


def _show(result: Conversion, output: str) -> None:
    what = "records" if result.target == "records" else f"rows ({result.target})"
    print(f"{result.written} {what} written to {output}, from {result.rows} row(s) ({', '.join(result.formats)})")
    if result.rows_without_label:
        print(f"{result.rows_without_label} row(s) without any label left out")
    if result.rejected_file:
        print(f"{result.rejected} row(s) rejected and written to {result.rejected_file}, the first of them:")
        for reason in result.reasons:
            print(f"  {reason}")
