"""Files of rows, read and written a row at a time, whatever they are: JSON lines, a JSON array, Parquet, the hub.

====================================  ============================================================
``.jsonl``, ``.json``                 read by content: one object a line, or one array of objects
either with ``.gz`` or ``.zst``       read by content, too, whatever the name
``.parquet``                          read in batches
a folder of Parquet files             one split of it, told by the names of files and folders as ``datasets`` does
``owner/name``                        a data set of the Hugging Face hub, one split of it
====================================  ============================================================
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from erprm.data.files.compressed import COMPRESSED_SUFFIXES, compressing
from erprm.data.files.hub import is_hub_id, load_hub_dataset
from erprm.data.files.json_rows import MAX_ROW_BYTES, Place, Reject, json_rows, stop
from erprm.runs.atomic import whole_file

log = logging.getLogger(__name__)

_BATCH = 1024
# Of a row group, to be read in batches of all these rows.
_MOST_BYTES = 8 * MAX_ROW_BYTES
_BYTES_OF_NUMBER = 4
_SHOWN = 80
_JSON_SUFFIXES = (".jsonl", ".json")


def read_rows(
    source: str | os.PathLike[str],
    *,
    split: str = "train",
    reject: Reject = stop,
    max_row_bytes: int = MAX_ROW_BYTES,
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Rows with their places; memory does not grow with their number.

    Args:
        source: a file, a folder of Parquet files (sub-folders included), or a hub id.
        split: split of a hub data set, or of a folder.
        reject: called with each row that cannot be read; by default reading ends there.
        max_row_bytes: the longest row of JSON that is read.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        RowError: at a row that cannot be read, unless ``reject`` does otherwise.
        ValueError: naming the file, if it cannot be read on; naming the splits, if there is none with that name.
    """
    name = os.fspath(source)
    if is_hub_id(name):
        yield from hub_rows(name, "rows", split, reject)
        return
    for path in data_files(name, "rows", split):
        yield from parquet_rows(path, reject) if is_parquet(path) else json_rows(path, reject, max_row_bytes)


def hub_rows(
    hub_id: str, what: str, split: str = "train", reject: Reject = stop
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Rows of a hub data set, named ``what`` in messages; otherwise as :func:`read_rows`."""
    dataset = load_hub_dataset(hub_id, what, split=split).with_format("arrow")
    return _rows_of((batch for table in dataset.iter(_BATCH) for batch in table.to_batches()), hub_id, reject)


def parquet_rows(path: Path, reject: Reject = stop) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Rows of a Parquet file; errors as :func:`read_rows`."""
    return _rows_of(parquet_batches(path), str(path), reject)


def data_files(path: str | os.PathLike[str], what: str, split: str = "train") -> list[Path]:
    """The file itself, or the Parquet files of one split below a folder, in order of name.

    Files and folders whose names start with a dot are left out. A folder that names no split is all ``train``; one that
    holds a single split of another name is read for ``train``, with a warning.

    Args:
        path: a local path.
        what: what should be there, such as ``rollout records``; opens the message if nothing is.
        split: split of a folder.

    Raises:
        FileNotFoundError: if there is nothing at the path, or a folder holds no Parquet file.
        ValueError: if a folder has other splits alone; names them.
    """
    path = Path(path)
    if path.is_file():
        if split != "train":
            log.warning("%s is one file: the split %s is not looked for", path, split)
        return [path]
    files = sorted(path.rglob("*.parquet"))
    visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not visible:
        problem = "holds no .parquet file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{what}: {str(path)!r} {problem}")
    by_split = _splits(path, visible)
    names = ", ".join(by_split)
    if split not in by_split:
        if len(by_split) > 1 or split != "train":
            raise ValueError(f"{what}: {str(path)!r} has no split {split!r}; it has {names}")
        log.warning("%s holds the split %s alone, which is read", path, names)
        (split,) = by_split
    elif len(by_split) > 1:
        log.warning("%s holds the splits %s; %s is read", path, names, split)
    left_out = len(visible) - sum(map(len, by_split.values()))
    if left_out:
        log.warning("%s: %d of %d Parquet files belong to no split and are not read", path, left_out, len(visible))
    return by_split[split]


def _splits(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Files by the split that their names, or their folders' names, say they belong to."""
    from datasets.data_files import DataFilesDict, EmptyDatasetError, get_data_patterns

    try:
        patterns = get_data_patterns(str(folder))
        found = DataFilesDict.from_patterns(patterns, base_path=str(folder), allowed_extensions=[".parquet"])
    except (EmptyDatasetError, FileNotFoundError):  # what names a split is no Parquet
        return {"train": files}
    split_of = {Path(file).resolve(): str(split) for split, of_split in found.items() for file in of_split}
    by_split: dict[str, list[Path]] = {}
    for file in files:
        if (split := split_of.get(file.resolve())) is not None:
            by_split.setdefault(split, []).append(file)
    return by_split or {"train": files}


def is_parquet(path: Path) -> bool:
    """True if a file starts as Parquet files do."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Arrow batches of a Parquet file, of a size in memory that does not grow with the file.

    Texts are read as Parquet keeps them, each once with the numbers of its rows, and repeated a few rows at a time.

    Raises:
        ValueError: naming the file, if it is no Parquet file, or damaged, or has a row that is too large.
    """
    rows = 0
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            _refuse_bomb(metadata, path)
            texts = [column.path for column in map(file.schema.column, range(len(file.schema))) if _is_text(column)]
        # Buffered ahead, as is pyarrow's default, the whole file is in memory at its end.
        with pq.ParquetFile(path, metadata=metadata, pre_buffer=False, read_dictionary=texts) as file:
            for batch in file.iter_batches(_rows_at_once(metadata)):
                for part in _parts(batch, rows, path):
                    columns = [column.cast(_repeated_type(column.type)) for column in part.columns]
                    yield pa.RecordBatch.from_arrays(columns, names=part.schema.names)
                rows += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        problem = f"cannot be read from row {rows} on" if rows else "not a Parquet file, or a damaged one"
        raise ValueError(f"{path}: {problem} ({error})") from error


def _is_text(column: pq.ColumnSchema) -> bool:
    return column.physical_type == "BYTE_ARRAY" and column.logical_type.type in ("STRING", "JSON", "NONE")


def _refuse_bomb(metadata: pq.FileMetaData, path: Path) -> None:
    """Refuses a file whose rows would take more memory than any row may, before they are decompressed."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        # Equal values in a row take no room in the file, but in memory each takes its number.
        values = sum(group.column(place).num_values for place in range(group.num_columns))
        size = max(group.total_byte_size, values * _BYTES_OF_NUMBER)
        if size > max(group.num_rows, 1) * MAX_ROW_BYTES:
            raise ValueError(
                f"{path}: {group.num_rows} row(s) of row group {number} take {size} bytes; the limit is "
                f"{MAX_ROW_BYTES} a row"
            )


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    largest = max((metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)), default=0)
    return max(1, min(_BATCH, _BATCH * _MOST_BYTES // max(largest, 1)))


def _parts(batch: pa.RecordBatch, first_row: int, path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a batch, in parts that are no larger than a row may be, with all texts repeated.

    Raises:
        ValueError: naming the row and its largest column, if one row is not.
    """
    sizes = [_repeated_bytes(column) for column in batch.columns]
    if sum(sizes) <= MAX_ROW_BYTES:
        yield batch
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        # A copy of their numbers: of a slice, all of the lists would be repeated.
        yield from _parts(batch.take(pa.array(range(half))), first_row, path)
        yield from _parts(batch.take(pa.array(range(half, batch.num_rows))), first_row + half, path)
    else:
        column = batch.schema.names[sizes.index(max(sizes))]
        raise ValueError(
            f"{path}, row {first_row}: takes {sum(sizes)} bytes, {max(sizes)} of them in column {column!r}; the limit "
            f"is {MAX_ROW_BYTES}"
        )


def _repeated_bytes(array: pa.Array) -> int:
    if pa.types.is_dictionary(array.type):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(array.type):
        return sum(map(_repeated_bytes, array.flatten()))
    if isinstance(array, pa.MapArray):
        return _repeated_bytes(array.keys) + _repeated_bytes(array.items)
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return _repeated_bytes(array.flatten())
    return int(array.nbytes)


def _repeated_type(of: pa.DataType) -> pa.DataType:
    """A type with texts in the place of numbers of texts."""
    if pa.types.is_dictionary(of):
        return of.value_type
    if pa.types.is_struct(of):
        return pa.struct([field.with_type(_repeated_type(field.type)) for field in of])
    if pa.types.is_map(of):
        return pa.map_(_repeated_type(of.key_type), _repeated_type(of.item_type))
    if pa.types.is_fixed_size_list(of):
        return pa.list_(_repeated_type(of.value_type), of.list_size)
    if pa.types.is_list(of):
        return pa.list_(of.value_field.with_type(_repeated_type(of.value_type)))
    if pa.types.is_large_list(of):
        return pa.large_list(of.value_field.with_type(_repeated_type(of.value_type)))
    return of


def _rows_of(batches: Iterable[pa.RecordBatch], name: str, reject: Reject) -> Iterator[tuple[Place, dict[str, Any]]]:
    number = 0
    for batch in batches:
        for row in _rows_of_batch(batch):
            place = Place(name, "row", number)
            if isinstance(row, UnicodeDecodeError):
                reject(place, f"not UTF-8 text ({row.reason} 0x{row.object[row.start]:02x})", repr(row.object)[:_SHOWN])
            else:
                yield place, row
            number += 1


def _rows_of_batch(batch: pa.RecordBatch) -> list[dict[str, Any] | UnicodeDecodeError]:
    """The rows of an Arrow batch, whose texts nothing has checked; of one that is no UTF-8, what is wrong."""
    try:
        rows: list[dict[str, Any] | UnicodeDecodeError] = batch.to_pylist()
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [error]
        half = batch.num_rows // 2
        return _rows_of_batch(batch.slice(0, half)) + _rows_of_batch(batch.slice(half))
    return rows


# Writing ----------------------------------------------------------------------------------------------------------


def layout_of(path: str | os.PathLike[str]) -> str:
    """Layout of a file to be written, by its name: ``.jsonl``, ``.json`` or ``.parquet``.

    Raises:
        ValueError: if the name says none of these.
    """
    path = Path(path)
    suffix = path.with_suffix("").suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix
    if suffix not in (*_JSON_SUFFIXES, ".parquet") or (suffix == ".parquet" and suffix != path.suffix):
        raise ValueError(
            f"{str(path)!r} does not say what to write; expected a name that ends in .jsonl, .json (or one of these "
            "with .gz or .zst behind it) or .parquet"
        )
    return suffix


def write_rows(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], schema: pa.Schema) -> int:
    """Writes rows as the name of the file says: one object a line, one array, or Parquet.

    The file appears only once it is complete: an error on the way, in ``rows`` too, leaves an earlier file as it was.

    Args:
        rows: what to write.
        path: the file.
        schema: columns of a Parquet file.

    Returns:
        How many rows were written.

    Raises:
        ValueError: if the name of the file does not say what to write.
    """
    path = Path(path)
    layout = layout_of(path)
    with whole_file(path) as file:
        if layout == ".parquet":
            return write_parquet(rows, file, schema)
        with compressing(file, path.suffix) as stream:
            return _write_json(rows, stream, layout)


def write_parquet(rows: Iterable[Mapping[str, Any]], file: BinaryIO, schema: pa.Schema) -> int:
    """Writes rows as Parquet, a batch at a time; how many they were."""
    remaining, count = iter(rows), 0
    with pq.ParquetWriter(file, schema) as writer:
        while batch := list(islice(remaining, _BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _write_json(rows: Iterable[Mapping[str, Any]], stream: BinaryIO, layout: str) -> int:
    before, between, after = (b"[\n", b",\n", b"\n]\n") if layout == ".json" else (b"", b"\n", b"\n")
    count = 0
    stream.write(before)
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
        stream.write(between + line if count else line)
        count += 1
    if count or before:
        stream.write(after)
    return count
