"""Reads rows of any known layout as records; the fields of a row show its layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from erprm.data.files.json_rows import MAX_ROW_BYTES, Place, Reject, RowError, stop
from erprm.data.files.row_files import read_rows
from erprm.data.formats import FormatName as FormatName
from erprm.data.formats import math_shepherd, official, prm800k, processbench, trl
from erprm.data.formats.labelled import RowParser
from erprm.data.records import ROLLOUT_SCHEMA, RolloutRecord, validate_record


@dataclass(frozen=True)
class ImportOptions:
    """Options for layouts that leave something open.

    Attributes:
        first_step: ``official``: text with which the first step begins, the end of the question.
        neutral: ``prm800k``: label of a step rated 0; null leaves it without a label, which ends the solution.
        alternatives: ``prm800k``: make records of completions that were rated but not chosen, too.
    """

    first_step: str = official.FIRST_STEP
    neutral: float | None = 1.0
    alternatives: bool = True


@dataclass(frozen=True)
class _Layout:
    """Description of a layout: the fields that each of its rows has, and the parser of a file of them."""

    fields: tuple[str, ...]
    parser: Callable[[ImportOptions], RowParser]

    def fits(self, row: Mapping[str, Any]) -> bool:
        return all(field in row for field in self.fields)


def _record(row: Mapping[str, Any], where: str) -> list[RolloutRecord]:
    return [validate_record(row, where=where)]


# In order of precedence: a row of records would pass for nothing else, and `problem, steps, label` has `label` in it.
_LAYOUTS = {
    "records": _Layout(tuple(ROLLOUT_SCHEMA.names), lambda _: _record),
    "official": _Layout(official.FIELDS, lambda options: official.official_parser(options.first_step)),
    "math_shepherd": _Layout(math_shepherd.FIELDS, lambda _: math_shepherd.math_shepherd_records),
    "prm800k": _Layout(prm800k.FIELDS, lambda options: prm800k.prm800k_parser(options.neutral, options.alternatives)),
    "trl": _Layout(trl.FIELDS, lambda _: trl.trl_records),
    "processbench": _Layout(processbench.FIELDS, lambda _: processbench.processbench_records),
}


def detect_format(row: Mapping[str, Any]) -> str | None:
    """The layout whose fields a row has; None if there is none.

    >>> detect_format({"prompt": "What is 3 and 4 more?", "completions": ["7"], "labels": [True]})
    'trl'
    """
    return next((name for name, layout in _LAYOUTS.items() if layout.fits(row)), None)


class RecordImport:
    """The records of a file, a folder of files or a hub data set, read as they are asked for.

    Attributes:
        formats: the layouts that were met.
        rows: how many rows were read so far, those that were rejected left out.
        rows_without_label: how many of them gave no record.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        format_name: str = "auto",
        options: ImportOptions | None = None,
        *,
        split: str = "train",
        reject: Reject = stop,
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        """Reads nothing yet.

        Args:
            source: a file, a folder of Parquet files, or a hub id; see :mod:`erprm.data.files.row_files`.
            format_name: layout of the rows; ``auto`` tells it by the first row of each file.
            options: what some of the layouts leave open.
            split: split of a hub data set.
            reject: called with each row that cannot be used; by default reading ends there.
            max_row_bytes: the longest row of JSON that is read.

        Raises:
            ValueError: if there is no such layout, or an option is out of range.
        """
        if format_name not in get_args(FormatName):
            raise ValueError(f"format {format_name!r} is unknown; known are {', '.join(get_args(FormatName))}")
        self._source, self._format_name, self._options = source, format_name, options or ImportOptions()
        self._reading: dict[str, Any] = {"split": split, "reject": reject, "max_row_bytes": max_row_bytes}
        self._reject = reject
        self.formats: list[str] = []
        self.rows = self.rows_without_label = 0
        prm800k.prm800k_parser(self._options.neutral)  # complains about a label out of range before anything is read

    def __iter__(self) -> Iterator[RolloutRecord]:
        return (record for _, record in self.with_places())

    def with_places(self) -> Iterator[tuple[Place, RolloutRecord]]:
        """The records, each with the place of the row it comes from.

        Raises:
            FileNotFoundError: if there is no such file, folder or data set.
            RowError: at a row that cannot be used, unless ``reject`` does otherwise.
            ValueError: naming the file, if it cannot be read on, or its first row is of no known layout.
        """
        file: _FileOfRows | None = None
        for place, row in read_rows(self._source, **self._reading):
            if file is None or file.name != place.file:
                file = _FileOfRows(place, row, self._format_name, self._options)
                if file.format_name not in self.formats:
                    self.formats.append(file.format_name)
            try:
                records = file.records(place, row)
            except RowError as error:
                self._reject(place, str(error).removeprefix(f"{place}: "), row)
                continue
            self.rows += 1
            self.rows_without_label += not records
            for record in records:
                yield place, record


class _FileOfRows:
    """The one layout that the rows of a file have."""

    def __init__(self, place: Place, first_row: Mapping[str, Any], format_name: str, options: ImportOptions) -> None:
        detected = detect_format(first_row) if format_name == "auto" else format_name
        if detected is None:
            known = "; ".join(f"{name} has {', '.join(layout.fields)}" for name, layout in _LAYOUTS.items())
            raise ValueError(f"{place}: has the fields {_listed(first_row)}, which no known layout has: {known}")
        self.name, self.format_name = place.file, detected
        self._because = f"like {place}" if format_name == "auto" else "as was asked for"
        self._layout = _LAYOUTS[detected]
        self._parser = self._layout.parser(options)

    def records(self, place: Place, row: Mapping[str, Any]) -> list[RolloutRecord]:
        """The records in a row.

        Raises:
            RowError: if the row is of another layout, or its parser finds a fault.
        """
        if not self._layout.fits(row):
            other = detect_format(row)
            looks = f", and looks like {other}" if other else ""
            raise RowError(
                f"{place}: has the fields {_listed(row)}{looks}; expected {', '.join(self._layout.fields)}, "
                f"the layout {self.format_name}, {self._because}"
            )
        return self._parser(row, str(place))


def _listed(row: Mapping[str, Any]) -> str:
    return ", ".join(row) or "(none)"


def import_official(
    source: str | os.PathLike[str], *, first_step: str = official.FIRST_STEP, split: str = "train"
) -> Iterator[RolloutRecord]:
    """Records of the official ER-PRM training data; see :mod:`erprm.data.formats.official`.

    Args:
        source: a file, a folder of Parquet files, or a hub id.
        first_step: text with which the first step begins.
        split: split of a hub data set.

    Raises:
        FileNotFoundError: if there is no such file, folder or data set.
        ValueError: naming file, row, the value found and what is accepted. The same holds of its siblings.
    """
    return iter(RecordImport(source, "official", ImportOptions(first_step=first_step), split=split))


def import_math_shepherd(source: str | os.PathLike[str], *, split: str = "train") -> Iterator[RolloutRecord]:
    """Records of Math-Shepherd; see :mod:`erprm.data.formats.math_shepherd`."""
    return iter(RecordImport(source, "math_shepherd", split=split))


def import_prm800k(
    source: str | os.PathLike[str], *, neutral: float | None = 1.0, alternatives: bool = True, split: str = "train"
) -> Iterator[RolloutRecord]:
    """Records of PRM800K; see :mod:`erprm.data.formats.prm800k`.

    Args:
        source: a file, a folder of Parquet files, or a hub id.
        neutral: label of a step rated 0; None leaves it without a label, which ends the solution.
        alternatives: make records of completions that were rated but not chosen, too.
        split: split of a hub data set.
    """
    options = ImportOptions(neutral=neutral, alternatives=alternatives)
    return iter(RecordImport(source, "prm800k", options, split=split))


def import_trl(source: str | os.PathLike[str], *, split: str = "train") -> Iterator[RolloutRecord]:
    """Records of a stepwise data set of TRL; see :mod:`erprm.data.formats.trl`."""
    return iter(RecordImport(source, "trl", split=split))


def import_processbench(source: str | os.PathLike[str], *, split: str = "gsm8k") -> Iterator[RolloutRecord]:
    """Records of ProcessBench; see :mod:`erprm.data.formats.processbench`."""
    return iter(RecordImport(source, "processbench", split=split))
