"""Rows of JSON files, one at a time, each with its place for messages.

A file holds one object a line, or one array of objects; its first character tells which. Neither is ever whole in
memory, and a row is read up to a limit, so that no input makes the memory grow.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from erprm.data.files.compressed import open_bytes
from erprm.errors import InputError

MAX_ROW_BYTES = 32 * 2**20
_CHUNK = 1 << 20
_SHOWN = 200
_MAX_BLANK = 4 * 2**20
# JSON can write half of a pair as an escape, but no encoding of texts can.
_NO_SPACE = re.compile(r"\S")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Place:
    """Place of a row: a line or an element, counted from 1, or a row of a table, counted from 0."""

    file: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}, {self.kind} {self.number}"


Reject = Callable[[Place, str, object], None]
"""Called with a row that cannot be used: its place, the reason, and the row, or its text where it is not JSON."""


class RowError(InputError):
    """A row that cannot be used; the message names file, row, the value found and what is accepted."""


def stop(place: Place, reason: str, row: object) -> NoReturn:
    """Ends reading at the first row that cannot be used.

    Raises:
        RowError: always.
    """
    raise RowError(f"{place}: {reason}")


def read_json_rows(path: Path, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a JSON file; blank lines are skipped.

    Args:
        path: the file; UTF-8, with or without a byte-order mark, plain or compressed by gzip or zstd.
        what: what the file is to the user, such as ``candidate pool``; opens the message if it does not exist.

    Yields:
        The place of a row, such as ``pool.jsonl, line 3`` (counted from 1), and the row.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and the place, if something else than JSON objects is found.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{what}: {str(path)!r} does not exist")
    for place, row in json_rows(path):
        yield str(place), row


def json_rows(
    path: Path, reject: Reject = stop, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Objects of a JSON file with their places.

    Args:
        path: a file that exists.
        reject: called with each row that cannot be used; by default reading ends there.
        max_row_bytes: the longest row that is read (in an array: counted in characters).

    Raises:
        RowError: from ``stop``, at a row that cannot be used.
        ValueError: naming the file, if it is no text, its compression is damaged, or it is an array that breaks off
            or is not JSON: what follows then cannot be told.
    """
    with open_bytes(path) as file:
        if _starts_an_array(file, path):
            yield from _elements(file, path, reject, max_row_bytes)
        else:
            yield from _lines(file, path, reject, max_row_bytes)


def count_rows(path: Path) -> int:
    """Number of rows of a file, usable or not.

    Raises:
        ValueError: as :func:`json_rows`.
    """
    rejected: list[Place] = []
    usable = sum(1 for _ in json_rows(path, lambda place, reason, row: rejected.append(place)))
    return usable + len(rejected)


def _starts_an_array(file: io.BufferedReader, path: Path) -> bool:
    """True if the first character is ``[``; a byte-order mark is consumed."""
    start = file.peek(_CHUNK)
    for mark, name in ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):
        if start.startswith(mark):
            raise ValueError(f"{path}: is {name} text; expected UTF-8")
    zero = start.find(b"\0")
    if zero >= 0:
        raise ValueError(f"{path}: is not text (a zero byte at byte {zero + 1}); expected JSON")
    if start.startswith(codecs.BOM_UTF8):
        start = start[len(codecs.BOM_UTF8) :]
        file.read(len(codecs.BOM_UTF8))
    return start.lstrip().startswith(b"[")


# One object a line ------------------------------------------------------------------------------------------------


def _lines(file: io.BufferedReader, path: Path, reject: Reject, limit: int) -> Iterator[tuple[Place, dict[str, Any]]]:
    decoder = _ObjectDecoder()
    number = blank = 0
    while line := file.readline(limit + 1):
        number += 1
        place = Place(str(path), "line", number)
        if len(line) > limit:
            length = len(line) if line.endswith(b"\n") else len(line) + _rest_of_line(file)
            reject(place, _too_long(length, limit, "bytes"), line[:_SHOWN].decode(errors="replace"))
        elif line.isspace():
            blank += len(line)
            if blank > _MAX_BLANK:
                raise ValueError(f"{place}: {_too_blank()}")
        else:
            blank = 0
            try:
                row = decoder.line(line)
            except RowError as error:
                reject(place, str(error), line.decode(errors="replace").rstrip("\n"))
            else:
                if (b"\\ud" in line or b"\\uD" in line) and (problem := _half_pair(row)):
                    reject(place, problem, row)
                else:
                    yield place, row


def _rest_of_line(file: io.BufferedReader) -> int:
    """Skips to the end of the line without holding it; how many bytes that were."""
    length = 0
    while part := file.readline(_CHUNK):
        length += len(part)
        if part.endswith(b"\n"):
            break
    return length


def _too_long(length: int, limit: int, unit: str) -> str:
    return f"is {length} {unit} long; the limit is {limit} (max_row_bytes)"


def _too_blank() -> str:
    return f"more than {_MAX_BLANK} characters of white space in a row, which no file of rows has"


def _problem(error: json.JSONDecodeError) -> str:
    # Some end in "at", for the position that follows.
    return error.msg.removesuffix(" at")


class _ObjectDecoder(json.JSONDecoder):
    """The standard decoder, which would keep the last of several values of one key; here that is an error."""

    def __init__(self) -> None:
        super().__init__(object_pairs_hook=self._object)
        self._repeated: str | None = None

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) != len(pairs):
            keys = [key for key, _ in pairs]
            self._repeated = next(key for key in keys if keys.count(key) > 1)
        return row

    def line(self, line: bytes) -> dict[str, Any]:
        """The object that a line holds."""
        try:
            row = self.decode(line.rstrip().decode())
        except UnicodeDecodeError as error:
            found = f"byte {error.start + 1} of the line is 0x{line[error.start]:02x}: {error.reason}"
            raise RowError(f"not UTF-8 text ({found})") from error
        except json.JSONDecodeError as error:
            raise RowError(f"not JSON ({_problem(error)} at character {error.pos + 1} of the line)") from error
        except (ValueError, RecursionError) as error:  # an integer of thousands of digits, brackets nested as deep
            raise RowError(f"not readable JSON ({error})") from error
        return self.checked(row)

    def checked(self, row: object) -> dict[str, Any]:
        """The row decoded last, if it is an object without repeated keys."""
        repeated, self._repeated = self._repeated, None
        if not isinstance(row, dict):
            raise RowError(f"is of type {type(row).__name__}; expected an object")
        if repeated is not None:
            raise RowError(f"the key {repeated!r} appears twice")
        return row


def _half_pair(row: Mapping[str, Any]) -> str | None:
    """Message about a row that holds half of a surrogate pair, in a key or a value."""
    for key, value in row.items():
        if half := _SURROGATE.search(json.dumps([key, value], ensure_ascii=False)):
            return f"field {key!r} holds {half[0]!r}, half of a surrogate pair: was the text cut within a character?"
    return None


# One array of objects ---------------------------------------------------------------------------------------------


def _elements(
    file: io.BufferedReader, path: Path, reject: Reject, limit: int
) -> Iterator[tuple[Place, dict[str, Any]]]:
    array = _ArrayText(file, path, limit)
    number = 0
    try:
        array.expect("[")
        while array.peek() != "]":
            if number:
                array.expect(",")
            number += 1
            place = Place(str(path), "element", number)
            try:
                row = array.element()
            except RowError as error:
                reject(place, str(error), array.last_element())
            else:
                text = array.last_element()
                if ("\\ud" in text or "\\uD" in text) and (problem := _half_pair(row)):
                    reject(place, problem, row)
                else:
                    yield place, row
        array.expect("]")
        array.expect("")
    except _BrokenArrayError as error:
        where = f"{path}, element {number}" if number else str(path)
        raise ValueError(f"{where}: {error}") from error


class _BrokenArrayError(ValueError):
    """Text after which the next element of an array cannot be found."""


class _ArrayText:
    """The text of a file that holds one array, of which one element and some of what follows are in memory.

    The standard library's decoder finds where an element ends, so that elements are read just as lines are.
    """

    def __init__(self, file: io.BufferedReader, path: Path, limit: int) -> None:
        self._file, self._path, self._limit = file, path, limit
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._objects = _ObjectDecoder()
        self._buffer, self._position = "", 0
        self._bytes_read, self._characters_dropped = 0, 0
        self._last = (0, 0)

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        start = self._number_of(self._position)
        while not (found := _NO_SPACE.search(self._buffer, self._position)):
            self._position = len(self._buffer)
            if self._number_of(self._position) - start > _MAX_BLANK:
                raise _BrokenArrayError(_too_blank())
            if not self._read_on():
                return ""
        self._position = found.start()
        return found[0]

    def expect(self, character: str) -> None:
        """Steps over the character; an empty one stands for the end of the file."""
        found = self.peek()
        if found != character:
            expected = repr(character) if character else "the end of the file"
            shown = repr(found) if found else "the file ends"
            number = self._number_of(self._position)
            raise _BrokenArrayError(f"not JSON ({shown} at character {number} of the file, not {expected})")
        self._position += len(character)

    def element(self) -> dict[str, Any]:
        """The element that starts here."""
        self.peek()
        while True:
            try:
                value, end = self._objects.raw_decode(self._buffer, self._position)
                break
            except json.JSONDecodeError as error:
                if len(self._buffer) - self._position > self._limit:
                    raise _BrokenArrayError(f"is longer than {self._limit} characters (max_row_bytes)") from error
                reason = f"not JSON ({_problem(error)} at character {self._number_of(error.pos)} of the file)"
                if not self._may_be_cut(error) or not self._read_on():
                    raise _BrokenArrayError(reason) from error
            except (ValueError, RecursionError) as error:
                raise _BrokenArrayError(f"not readable JSON ({error})") from error
        self._last = (self._position, end)
        self._position = end
        row = self._objects.checked(value)
        if self._last[1] - self._last[0] > self._limit:
            raise RowError(_too_long(self._last[1] - self._last[0], self._limit, "characters"))
        return row

    def last_element(self) -> str:
        """The text of the element that was read last."""
        return self._buffer[slice(*self._last)]

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """True if more text could fix the error: it is at the end of what was read, or in a string without an end."""
        longest_escape = len("\\ud83d\\ude00")
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._buffer) - longest_escape

    def _read_on(self) -> bool:
        """Takes in as much again as is being looked at, so that an element is scanned a few times at most."""
        chunk = self._file.read(max(_CHUNK, len(self._buffer) - self._position))
        try:
            text = self._decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder complains about the chunk with what it had kept back of the one before.
            byte = self._bytes_read + len(chunk) - len(error.object) + error.start + 1
            found = f"byte {byte} is 0x{error.object[error.start]:02x}: {error.reason}"
            raise ValueError(f"{self._path}: not UTF-8 text ({found})") from error
        self._bytes_read += len(chunk)
        self._characters_dropped += self._position
        self._buffer = self._buffer[self._position :] + text
        self._position = 0
        return bool(chunk)

    def _number_of(self, position: int) -> int:
        """Number, from 1, of a character of the file."""
        return self._characters_dropped + position + 1
