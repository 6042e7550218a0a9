"""Records as rows of other layouts, with finished labels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from erprm.data.files.json_rows import Place, Reject, RowError, stop
from erprm.data.files.row_files import layout_of, write_rows
from erprm.data.formats import ExportLabels as ExportLabels
from erprm.data.formats.official import official_parser, official_row
from erprm.data.formats.trl import trl_records, trl_row, trl_schema
from erprm.data.labels import label_eta, solution_labels
from erprm.data.records import RecordError, RolloutRecord, shortened
from erprm.eta import Eta

_OFFICIAL_SCHEMA = pa.schema([("text", pa.string()), ("value", pa.list_(pa.float32()))])
_BATCH = 1024


@dataclass(frozen=True)
class ExportOptions:
    """Options for turning records into rows.

    Attributes:
        labels: how completion rewards become the one label of a step; see :mod:`erprm.data.labels`.
        eta: entropy regularization of ``er``.
        threshold: ``trl``: write booleans, whether a label is at least this; null writes the labels themselves.
        exact: refuse a record whose question, steps and labels would not be read back just as they are.
    """

    labels: ExportLabels = "er"
    eta: Eta = 1.0
    threshold: float | None = None
    exact: bool = False


class Exporter:
    """Turns records into rows of one layout.

    Attributes:
        schema: the columns of a Parquet file of such rows.
    """

    def __init__(self, layout: Literal["official", "trl"], options: ExportOptions) -> None:
        """Takes the layout.

        Raises:
            ValueError: if an option is out of range.
        """
        label_eta(options.labels, options.eta)
        if options.labels not in get_args(ExportLabels):
            raise ValueError(f"labels is {options.labels!r}, which leaves steps without a label; take er, soft or hard")
        if options.threshold is not None and not 0 <= options.threshold <= 1:
            raise ValueError(f"threshold is {options.threshold}; it must be null or a number in [0, 1]")
        if options.threshold is not None and layout != "trl":
            raise ValueError(f"threshold is for trl alone; the values of {layout} are numbers")
        self._layout, self._options = layout, options
        self.schema = trl_schema(options.threshold) if layout == "trl" else _OFFICIAL_SCHEMA

    def rows(self, records: Iterable[tuple[Place, RolloutRecord]], reject: Reject = stop) -> Iterator[dict[str, Any]]:
        """The rows of records, in their order.

        Args:
            records: each with its place, for messages.
            reject: called with each record that cannot be written; by default that ends there.
        """
        remaining = iter(records)
        while batch := list(islice(remaining, _BATCH)):
            labels = solution_labels([record.rewards for _, record in batch], self._options.labels, self._options.eta)
            for (place, record), labels_S in zip(batch, labels, strict=True):
                try:
                    row = self._row(record, _shortest(labels_S), str(place))
                except RowError as error:
                    reject(place, str(error).removeprefix(f"{place}: "), vars(record))
                else:
                    yield row

    def _row(self, record: RolloutRecord, labels: list[float], where: str) -> dict[str, Any]:
        if any(map(math.isnan, labels)):
            raise RecordError(
                f"{where}: a step has no completion rewards, so no label {self._options.labels}; records made by "
                "bisection allow only labels hard"
            )
        if self._layout == "trl":
            row = trl_row(record, labels, self._options.threshold)
        else:
            row = official_row(record, labels, where)
        if self._options.exact:
            self._check_that_it_comes_back(row, record, labels, where)
        return row

    def _check_that_it_comes_back(
        self, row: Mapping[str, Any], record: RolloutRecord, labels: list[float], where: str
    ) -> None:
        parse = trl_records if self._layout == "trl" else official_parser()
        try:
            (back,) = parse(row, where)
        except RecordError as error:
            reason = str(error).removeprefix(f"{where}: ")
            raise RecordError(f"{where}: could not be read back from {self._layout}: {reason}") from error
        read = {"question": back.question, "steps": back.steps, "labels": [step[0] for step in back.rewards]}
        for name, given in {"question": record.question, "steps": record.steps, "labels": labels}.items():
            if read[name] != given:
                back_text = shortened(repr(read[name]))
                raise RecordError(
                    f"{where}: {name} {shortened(repr(given))} would be read back from {self._layout} as {back_text}"
                )


def _shortest(labels_S: npt.NDArray[np.float32]) -> list[float]:
    """The numbers with the fewest digits that are these labels in float32: 0.8, not 0.800000011920929."""
    return [float(text) for text in labels_S.astype(str)]


def export_trl(
    records: Iterable[RolloutRecord],
    path: str | os.PathLike[str],
    *,
    labels: ExportLabels = "er",
    eta: Eta = 1.0,
    threshold: float | None = None,
    exact: bool = False,
) -> int:
    """Writes records as a stepwise data set of TRL; see :mod:`erprm.data.formats.trl`.

    Args:
        records: what to write.
        path: file to write; its name says which kind: ``.jsonl``, ``.json`` (with ``.gz`` or ``.zst``) or ``.parquet``.
        labels: how completion rewards become the one label of a step.
        eta: entropy regularization of ``er``.
        threshold: write booleans, whether a label is at least this; None writes the labels themselves.
        exact: refuse a record whose question, steps and labels would not be read back just as they are.

    Returns:
        How many rows were written.

    Raises:
        ValueError: if an argument is out of range, or a record cannot be written. Nothing is written then.
    """
    return _export(records, path, "trl", ExportOptions(labels, eta, threshold, exact))


def export_official(
    records: Iterable[RolloutRecord],
    path: str | os.PathLike[str],
    *,
    labels: ExportLabels = "er",
    eta: Eta = 1.0,
    exact: bool = False,
) -> int:
    """Writes records as the official training data; see :mod:`erprm.data.formats.official` and :func:`export_trl`."""
    return _export(records, path, "official", ExportOptions(labels, eta, None, exact))


def _export(
    records: Iterable[RolloutRecord],
    path: str | os.PathLike[str],
    layout: Literal["official", "trl"],
    options: ExportOptions,
) -> int:
    layout_of(path)
    exporter = Exporter(layout, options)
    placed = ((Place("records", "record", number), record) for number, record in enumerate(records))
    return write_rows(exporter.rows(placed), path, exporter.schema)
