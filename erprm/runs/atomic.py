"""Atomic file writes: a file is written whole, or stays as it was.

What is being written has a hidden name beside its own and is renamed at the end. A killed process leaves the hidden
file behind; the next command that writes there removes it (:func:`remove_leftovers`). The libraries for this
(``atomicwrites``, ``python-atomicwrites``) are archived, and none writes the files of a model as one.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from erprm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEX = "[0-9a-f]" * 32
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def hidden_name(path: Path, suffix: str = "tmp") -> Path:
    """A name of its own beside a path, for what is to get that path."""
    # Not the process id: machines that share a folder may both have that one.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{suffix}")


def hidden_beside(folder: Path, pattern: str = "*", suffix: str = "tmp") -> list[Path]:
    """The files and folders with such names, of paths whose names match a glob pattern."""
    return sorted(folder.glob(f".{pattern}.{_HEX}.{suffix}"))


def final_name(hidden: Path) -> Path:
    """The path that a hidden name was made for."""
    return hidden.with_name(hidden.name[1:].rsplit(".", 2)[0])


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that gets its name once the block ends without an error, even across a power cut.

    An error, a full disk too, leaves an earlier file as it was and nothing else. A link stays, and leads to what is
    written. What is no file, such as ``/dev/null`` or a pipe, is written to as it is, and not replaced.

    Raises:
        OSError: naming the file, if the disk is full.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = hidden_name(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        full = _full_disk(error)
        if full is not None and (full is not error or full.filename is None):
            raise OSError(full.errno, full.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _full_disk(error: BaseException | None) -> OSError | None:
    """The full disk behind an error, if there is one: ``torch.save`` (2.13) raises another error over it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def refuse_input(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Refuses to write over a file that the same command reads.

    Raises:
        InputError: naming the file.
    """
    output = Path(output)
    if output.exists() and any(Path(path).exists() and output.samefile(path) for path in inputs):
        raise InputError(f"{output}: is the input; give the output another name")


def write_text(text: str, path: Path) -> None:
    """Writes a text file."""
    with whole_file(path) as file:
        file.write(text.encode())


def write_json(value: Any, path: Path) -> None:
    """Writes a JSON file."""
    with whole_file(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")
    sync(path.parent)


def write_json_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes a file of JSON lines."""
    with whole_file(path) as file:
        file.writelines(map(json_line, rows))


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line that every reader of JSON takes.

    NaN and infinities, which JSON does not have, become null; half of a surrogate pair is written as an escape.
    """
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError:
        return json.dumps(finite(row)).encode() + b"\n"


def finite(value: Any) -> Any:
    """The value with null for each number in it that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def write_finite_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON file that any reader accepts: numbers that are not finite become null."""
    write_json(finite(content), path)


def encodable(text: str) -> str:
    """The text with ``?`` for halves of surrogate pairs, which no file takes."""
    return text.encode(errors="replace").decode()


def write_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Draws a figure into a file, PNG unless its name says otherwise."""
    path = path if path.suffix else path.with_suffix(".png")
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=dpi)


@contextmanager
def whole_files(folder: Path, last: str, replaced: Sequence[str] = ()) -> Iterator[Path]:
    """Gives a hidden folder to write into; its files move into ``folder`` once the block ends without an error.

    Other files in ``folder`` stay. The rename of ``last`` ends the exchange: whoever needs that file never reads some
    files of an earlier writing and some of this one.

    Args:
        folder: where the files go; created if it does not exist.
        last: name of the file without which the others are nothing, such as ``config.json`` of a model.
        replaced: glob patterns of earlier files to remove, if this writing makes none of that name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, "writing")
    temporary = hidden_name(folder / "writing")
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                sync(path)
        if (temporary / last).exists():
            (folder / last).unlink(missing_ok=True)
        for path in (path for pattern in replaced for path in folder.glob(pattern)):
            remove(path)
        for path in sorted(temporary.iterdir(), key=lambda path: path.name == last):
            if path.is_dir():
                remove(folder / path.name)
            path.replace(folder / path.name)
        sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, pattern: str = "*") -> None:
    """Removes what processes left that were killed while they wrote.

    Args:
        folder: where the files are. No other process may be writing such files there.
        pattern: glob pattern of the names that they would have got.
    """
    for left_over in hidden_beside(folder, pattern):
        remove(left_over)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; nothing if neither is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Brings a file, or the renames in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
