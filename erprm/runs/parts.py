"""Parts of a run: files of JSON lines, each written whole from some of the items, so a kill loses at most one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from erprm.runs.atomic import write_json_lines
from erprm.runs.folder import DamagedFileError

Item = TypeVar("Item")
Row = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """The parts in a folder.

    Attributes:
        folder: where they are.
        size: items to a part; the last may have fewer.
        prefix: of their names, before the number.
    """

    folder: Path
    size: int
    prefix: str = ""

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{self.prefix}{number:05d}.jsonl"

    def of(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """The items of each part."""
        return [items[start : start + self.size] for start in range(0, len(items), self.size)]

    def is_done(self, number: int) -> bool:
        """True if the file of a part exists."""
        return self.path(number).exists()

    def write(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the rows of a part."""
        write_json_lines(rows, self.path(number))

    def make(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Mapping[str, Any]]]) -> None:
        """Makes the parts that are missing; ``work`` makes rows of the items of one."""
        for number, part in enumerate(self.of(items)):
            if not self.is_done(number):
                self.write(number, work(part))

    def rows(self, parts: int) -> Iterator[Row]:
        """The rows of so many parts, in order.

        Raises:
            DamagedFileError: if a line is not JSON; says what to do.
        """
        for path in map(self.path, range(parts)):
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        raise DamagedFileError(
                            f"{path}, line {number}: is damaged; delete the file, and the same command makes it again"
                        ) from error
