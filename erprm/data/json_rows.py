"""Rows of JSON files, each with its place for messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_json_rows(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a ``.json`` file holding one array, or of a file with one object a line; blank lines are skipped.

    Args:
        path: the file; UTF-8, with or without a byte-order mark.
        what: what the file is to the user, such as ``candidate pool``; opens the message if it is not there.

    Yields:
        The place of a row, such as ``pool.jsonl, line 3`` (counted from 1), and the row.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and the place, if something else than JSON objects is found.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{what}: {str(path)!r} does not exist")
    try:
        yield from _array(path) if path.suffix == ".json" else _lines(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error


def _array(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); a file with one object a line has to be named .jsonl") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: holds a {type(rows).__name__}; expected an array of objects")
    for number, row in enumerate(rows, 1):
        where = f"{path}, element {number}"
        yield where, _object(row, where)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{where}: not JSON ({error})") from error
                yield where, _object(row, where)


def _object(row: object, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: a {type(row).__name__}; expected an object")
    return row
