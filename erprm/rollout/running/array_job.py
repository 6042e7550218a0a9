"""Division of a run's shards among the jobs of an array: ``2/8`` makes the shards 2, 10, 18, ..."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One of several parts of a run, of about equal size.

    Attributes:
        index: number of the part, from 0.
        count: how many parts there are.
    """

    index: int = 0
    count: int = 1

    def shards(self, num_shards: int) -> range:
        """The shards of this part."""
        return range(self.index, num_shards, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_part(text: str | None) -> Part:
    """Reads ``i/n``; ``slurm`` is the place of this job in its SLURM array, None the whole run.

    Raises:
        ValueError: if it is neither, or there is no array, or one with gaps.
    """
    if text is None:
        return Part()
    if text == "slurm":
        return _slurm_part()
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(
            f"shard is {text!r}; expected i/n with i from 0 to n-1, such as 0/3, 1/3 and 2/3 for three parts, or slurm"
        )
    return Part(int(match[1]), int(match[2]))


def _slurm_part() -> Part:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]
    values = {name: os.environ.get(name, "") for name in names}
    if not all(value.isdecimal() for value in values.values()):
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        raise ValueError(
            f"shard is 'slurm', but this is no job of a SLURM array ({shown}); expected sbatch --array=0-7"
        )
    task, first, last, count = map(int, values.values())
    if count == 1:
        raise ValueError(
            f"shard is 'slurm', but task {task} is the only one of its array; for one part again say which of how many "
            f"it is, such as --shard {task}/8, and for the whole run leave it out"
        )
    if last - first + 1 != count:
        raise ValueError(
            f"shard is 'slurm', but the array has {count} tasks from {first} to {last}: there are gaps; give an array "
            "such as 0-7, or say which part each task makes: --shard i/n"
        )
    return Part(task - first, count)
