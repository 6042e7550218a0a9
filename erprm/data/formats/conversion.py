"""Converts step-labelled data between layouts, row by row, and writes unusable rows to a file of rejected ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from erprm.data.files.json_rows import MAX_ROW_BYTES, Place, Reject, stop
from erprm.data.files.row_files import layout_of, write_rows
from erprm.data.formats import TargetName as TargetName
from erprm.data.formats.exporting import Exporter, ExportOptions
from erprm.data.formats.importing import ImportOptions, RecordImport
from erprm.data.records import write_records
from erprm.runs.atomic import whole_file
from erprm.runs.lock import sole_writer

Item = TypeVar("Item")
_TARGET_OF_LAYOUT: dict[str, TargetName] = {".parquet": "records", ".jsonl": "trl", ".json": "official"}
_SHOWN_REASONS = 5


@dataclass(frozen=True)
class Conversion:
    """Outcome of a conversion, as counts of rows.

    Attributes:
        target: layout of what was written.
        formats: layouts of what was read.
        rows: rows that were read.
        rows_without_label: how many of them hold no label, and gave nothing.
        written: records or rows written.
        rejected: rows, or records, that could not be used and were left out.
        rejected_file: where these were written, if there are any.
        reasons: the reasons of the first few, with their places.
    """

    target: TargetName
    formats: list[str]
    rows: int
    rows_without_label: int
    written: int
    rejected: int
    rejected_file: Path | None
    reasons: list[str]


def target_of(output: str | os.PathLike[str], target: TargetName | None = None) -> TargetName:
    """The layout to write; without one given, by the name: ``.parquet`` records, ``.jsonl`` TRL, ``.json`` official.

    Raises:
        ValueError: if the name does not say what kind of file to write, or records should go into another than Parquet.
    """
    layout = layout_of(output)
    target = target or _TARGET_OF_LAYOUT[layout]
    if target == "records" and layout != ".parquet":
        raise ValueError(f"records are written as Parquet; the name {os.fspath(output)!r} does not end in .parquet")
    return target


def rejected_path(output: str | os.PathLike[str]) -> Path:
    """Path for rows that could not be used: the output's, with ``.rejected.jsonl`` appended to its name."""
    output = Path(output)
    return output.with_name(f"{output.name}.rejected.jsonl")


def rejected_line(place: Place, reason: str, row: object) -> bytes:
    """A line of such a file: where the row stands, the reason, and the row."""
    written = {"file": place.file, place.kind: place.number, "reason": reason, "content": row}
    # Escapes, so that half a surrogate pair can be written as it was read.
    return json.dumps(written).encode() + b"\n"


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format_name: str = "auto",
    target: TargetName | None = None,
    skip_rejected: bool = False,
    import_options: ImportOptions | None = None,
    export_options: ExportOptions | None = None,
    split: str = "train",
    max_row_bytes: int = MAX_ROW_BYTES,
) -> Conversion:
    """Reads rows of one layout and writes them in another; memory does not grow with their number.

    The output appears only once it is complete: after an error there is what was there before.

    Args:
        source: a file, a folder of Parquet files, or a hub id.
        output: file to write.
        format_name: layout of the source; ``auto`` tells it by the first row of each file.
        target: layout of the output; by default by its name, see :func:`target_of`.
        skip_rejected: leave out rows that cannot be used, and write them to :func:`rejected_path`, each with its file,
            place and the reason; otherwise the first of them ends the conversion.
        import_options: what some of the layouts leave open.
        export_options: how records become rows of another layout.
        split: split of a hub data set.
        max_row_bytes: the longest row of JSON that is read.

    Raises:
        FileNotFoundError: if there is no such source.
        RowError: at the first row that cannot be used, unless these are skipped.
        InUseError: if another command is writing the output.
        ValueError: if a setting is wrong, a file cannot be read on, or no row of it can be used.
    """
    target = target_of(output, target)
    exporter = None if target == "records" else Exporter(target, export_options or ExportOptions())
    with ExitStack() as files:
        files.enter_context(sole_writer(Path(output)))
        rejected = _RejectedRows(rejected_path(output), files)
        reject: Reject = rejected.add if skip_rejected else stop
        records = RecordImport(
            source, format_name, import_options, split=split, reject=reject, max_row_bytes=max_row_bytes
        )

        def none_left() -> str:
            if not records.rows and not rejected.count:
                return f"{os.fspath(source)}: holds no row"
            why = f"; {rejected.reasons[0]}" if rejected.reasons else ", and none has a label"
            return f"{os.fspath(source)}: none of its rows can be used{why}"

        if exporter is None:
            written = write_records(_at_least_one(records, none_left), output)
        else:
            rows = exporter.rows(records.with_places(), reject)
            written = write_rows(_at_least_one(rows, none_left), output, exporter.schema)
    if not rejected.count:
        # What an earlier run left there would be taken for this one's.
        rejected.path.unlink(missing_ok=True)
    return Conversion(
        target=target,
        formats=records.formats,
        rows=records.rows,
        rows_without_label=records.rows_without_label,
        written=written,
        rejected=rejected.count,
        rejected_file=rejected.path if rejected.count else None,
        reasons=rejected.reasons,
    )


def _at_least_one(items: Iterable[Item], none_left: Callable[[], str]) -> Iterator[Item]:
    empty = True
    for item in items:
        empty = False
        yield item
    if empty:
        raise ValueError(none_left())


class _RejectedRows:
    """The file of rows that could not be used; it is made with the first of them."""

    def __init__(self, path: Path, files: ExitStack) -> None:
        self.path = path
        self.count = 0
        self.reasons: list[str] = []
        self._files = files
        self._file: BinaryIO | None = None

    def add(self, place: Place, reason: str, row: object) -> None:
        """Writes one row aside."""
        if self._file is None:
            self._file = self._files.enter_context(whole_file(self.path))
        self._file.write(rejected_line(place, reason, row))
        self.count += 1
        if len(self.reasons) < _SHOWN_REASONS:
            self.reasons.append(f"{place}: {reason}")
