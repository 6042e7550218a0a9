"""Solutions with labelled steps, for evaluating step scores; kept whole even if the labels end before the steps.

Rows of ProcessBench keep the steps after the first wrong one, of which their label says nothing: a scorer gets the
solution as its author wrote it, and cannot tell the wrong step by its being the last. Of every other layout that
``erprm convert`` reads the records are taken; the label of a step is the mean of its completion rewards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from erprm.data.files.row_files import read_rows
from erprm.data.formats import processbench
from erprm.data.formats.importing import RecordImport, detect_format
from erprm.data.formats.labelled import text_field
from erprm.data.records import RecordError
from erprm.runs.identity import sha256_of
from erprm.steps import Solution


@dataclass(frozen=True)
class LabelledSolution:
    """A solution and what is known of its steps.

    Attributes:
        solution: question and all steps.
        labels: labels in [0, 1] of the first steps, at least one; nothing is known of the others.
    """

    solution: Solution
    labels: tuple[float, ...]

    @property
    def first_error(self) -> int:
        """The first step whose label is below 0.5, from 0; -1 if there is none."""
        return next((step for step, label in enumerate(self.labels) if label < 0.5), -1)


def read_step_labels(
    source: str | os.PathLike[str], split: str = "train", limit: int | None = None
) -> list[LabelledSolution]:
    """Reads labelled solutions in the order of their file.

    Args:
        source: file of ProcessBench or of any layout that ``erprm convert`` reads, folder of Parquet files, or hub id.
        split: split of a hub data set.
        limit: at most this many solutions.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        RowError: at a row that cannot be used; names file and row.
        ValueError: if a file is of no known layout, or no solution is found.
    """
    solutions = list(islice(_solutions(source, split), limit))
    if not solutions:
        raise ValueError(f"{os.fspath(source)}: holds no solution with labelled steps")
    return solutions


def _solutions(source: str | os.PathLike[str], split: str) -> Iterator[LabelledSolution]:
    rows = read_rows(source, split=split)
    first = next(rows, None)
    if first is not None and detect_format(first[1]) == "processbench":
        for place, row in chain([first], rows):
            if missing := [field for field in processbench.FIELDS if field not in row]:
                raise RecordError(f"{place}: has no field {missing[0]!r}, which rows of ProcessBench have")
            steps, label = processbench.steps_and_label(row, str(place))
            if not steps or not all(isinstance(step, str) and step.strip() for step in steps):
                raise RecordError(f"{place}: field 'steps' is {str(steps)[:80]}; expected texts that are not blank")
            question = text_field(row, "problem", str(place))
            yield LabelledSolution(Solution(question, steps), tuple(processbench.labels_up_to(label, len(steps))))
        return
    for record in RecordImport(source, split=split):
        labels = tuple(sum(rewards) / len(rewards) for rewards in record.rewards)
        yield LabelledSolution(Solution(record.question, record.steps), labels)


def labels_fingerprint(solutions: Sequence[LabelledSolution]) -> str:
    """SHA-256 of questions, steps and labels."""
    contents = ([each.solution.question, list(each.solution.steps), each.labels] for each in solutions)
    return sha256_of((json.dumps(content) + "\n").encode() for content in contents)
