"""Problems with their gold answers: GSM8K, MATH, or any JSONL file.

A problem is a question and the text of its final answer. Hub data sets go through ``datasets``.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.data.files.hub import is_hub_id, load_hub_dataset
from erprm.data.files.json_rows import read_json_rows
from erprm.grading import extract_answer

__all__ = ["Problem", "ProblemSource", "load_problems"]

log = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """A question with its gold final answer.

    Attributes:
        problem_id: unique name, such as ``gsm8k/train/17``.
        question: the text given to the policy.
        answer: the final answer's text, not the worked solution.
        source: where the problem comes from, such as ``gsm8k``.
    """

    problem_id: str
    question: str
    answer: str
    source: str

    @property
    def groups(self) -> dict[str, str]:
        """The groups it is reported in, such as ``{"level": "5", "subject": "Geometry"}``."""
        return {}


@dataclass(frozen=True)
class ClassifiedProblem(Problem):
    """A problem whose level or subject is known, as in MATH; the other is blank if it is not.

    Attributes:
        level: difficulty, such as ``5``.
        subject: such as ``Geometry``.
    """

    level: str = ""
    subject: str = ""

    @property
    def groups(self) -> dict[str, str]:
        """Level and subject, as far as they are known."""
        return {name: value for name, value in (("level", self.level), ("subject", self.subject)) if value}


def classified(problem: Problem, row: Row) -> Problem:
    """The problem with the level and the subject that its row gives: ``level``, and ``subject`` or MATH's ``type``."""
    level = str(row.get("level") or "").strip().removeprefix("Level ")
    subject = str(row.get("subject") or row.get("type") or "").strip()
    if not level and not subject:
        return problem
    return ClassifiedProblem(**vars(problem), level=level, subject=subject)


@dataclass(frozen=True)
class _Source:
    """Field names of a source; where several are given, the first that holds something is used."""

    hub_id: str | None
    hub_config: str | None
    question_fields: tuple[str, ...]
    answer_fields: Mapping[str, Callable[[str], str | None]]
    """Name of a field, and how the final answer is read from its text."""


_SOURCES = {
    "gsm8k": _Source("openai/gsm8k", "main", ("question",), {"answer": partial(extract_answer, kind="gsm8k")}),
    "math": _Source(
        "HuggingFaceH4/MATH-500",
        None,
        ("problem", "question"),
        {"answer": str, "final_answer": str, "solution": partial(extract_answer, kind="math")},
    ),
    "jsonl": _Source(None, None, ("question", "problem"), {"answer": str}),
}


@dataclass(frozen=True)
class ProblemSource:
    r"""Problems read anew from their file or data set whenever they are iterated over, one at a time.

    A problem whose answer is blank, or in which no final answer is found, cannot be graded: it is left out, and one
    warning says how many there were and where the first is (MATH's published training answers have two such rows).

    Attributes:
        source: ``gsm8k`` (fields ``question``, ``answer`` ending in ``#### 42``), ``math`` (``problem`` with
            ``answer``, ``final_answer`` or a ``solution`` ending in ``\boxed{}``) or ``jsonl`` (``question`` and
            ``answer``, the final answer itself). Each may also have its own ``problem_id`` and ``source``.
        path: a local ``.jsonl`` or ``.json`` file, or a hub id; by default the source's own hub id.
        split: split of a hub data set; for a local file only a part of the problem ids.
        limit: at most this many problems, from the start.
        unanswered: keep problems without a final answer, too; their answer is blank.
    """

    source: str
    path: str | None = None
    split: str = "train"
    limit: int | None = None
    unanswered: bool = False

    def __post_init__(self) -> None:
        if self.source not in _SOURCES:
            raise ValueError(f"problem source {self.source!r} is unknown; known are {', '.join(sorted(_SOURCES))}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1")
        if self.path is None and _SOURCES[self.source].hub_id is None:
            raise ValueError(f"problem source {self.source!r} needs a path: a .jsonl or .json file, or a hub id")

    @property
    def _location(self) -> str:
        return str(self.path or _SOURCES[self.source].hub_id)

    def __iter__(self) -> Iterator[Problem]:
        """The problems in the order of their file."""
        return (problem for _, problem in self.with_places())

    def with_places(self) -> Iterator[tuple[str, Problem]]:
        """The problems, each with its place, such as ``problems.jsonl, line 3``.

        Raises:
            ValueError: if a row lacks a field, or no problem is left.
            FileNotFoundError: if there is no such file or hub data set.
        """
        spec = _SOURCES[self.source]
        count = 0
        unanswered: list[str] = []
        rows = _rows(self._location, spec.hub_config if self.path is None else None, self.split)
        for number, (where, row) in enumerate(rows):
            if count == self.limit:
                break
            given_id = row.get("problem_id")
            problem_id = f"{self.source}/{self.split}/{number}" if given_id in (None, "") else str(given_id)
            question, answer = _question(row, spec, where), _final_answer(row, spec, where, self.unanswered)
            if answer or self.unanswered:
                count += 1
                problem = Problem(problem_id, question, answer, str(row.get("source") or self.source))
                yield where, classified(problem, row)
            else:
                unanswered.append(where)
        if unanswered:
            log.warning(
                "%d problem(s) without a final answer left out, the first at %s", len(unanswered), unanswered[0]
            )
        if not count:
            raise ValueError(f"{self._location}: holds no problem" + " with a final answer" * (not self.unanswered))


def load_problems(
    source: str,
    path: str | None = None,
    split: str = "train",
    limit: int | None = None,
    unanswered: bool = False,
) -> list[Problem]:
    """The problems of a :class:`ProblemSource`, whose attributes the arguments are, all in memory.

    Raises:
        ValueError: if the source is unknown, two problems share an id, a row lacks a field, or no problem is left.
        FileNotFoundError: if there is no such file or hub data set.
    """
    problems: list[Problem] = []
    place_of: dict[str, str] = {}
    for where, problem in ProblemSource(source, path, split, limit, unanswered).with_places():
        refuse_second(problem.problem_id, where, place_of)
        problems.append(problem)
    return problems


def refuse_second(problem_id: str, where: str, place_of: dict[str, str]) -> None:
    """Takes note of a problem's place.

    Raises:
        ValueError: if another problem with that id has a place already.
    """
    if problem_id in place_of:
        raise ValueError(f"{where}: problem_id {problem_id!r} is also that of {place_of[problem_id]}")
    place_of[problem_id] = where


def _question(row: Row, spec: _Source, where: str) -> str:
    question = next((row[field] for field in spec.question_fields if row.get(field)), None)
    if not isinstance(question, str) or not question.strip():
        raise ValueError(
            f"{where}: the question is {question!r}; expected a text under {_either(spec.question_fields)}"
        )
    return question


def _final_answer(row: Row, spec: _Source, where: str, may_be_missing: bool) -> str:
    """The final answer's text; empty if the fields are there but hold none."""
    present = [field for field in spec.answer_fields if field in row]
    if not present and not may_be_missing:
        raise ValueError(f"{where}: no answer in the fields {', '.join(row)}; expected {_either(spec.answer_fields)}")
    for field in present:
        answer = (spec.answer_fields[field](answer_text(row[field], field, where)) or "").strip()
        if answer:
            return answer
    return ""


def answer_text(value: object, field: str, where: str) -> str:
    """A gold answer as text; empty for None.

    Raises:
        ValueError: if it is neither a text nor a finite number. JSON's ``NaN``, ``true`` and ``1e999`` would become
            answers that no solution can reach.
    """
    if value is None:
        return ""
    is_finite = math.isfinite(value) if isinstance(value, float) else type(value) is int
    if not isinstance(value, str) and not is_finite:
        raise ValueError(f"{where}: field {field!r} is {value!r}; expected a text or a finite number")
    return str(value)


def _either(fields: Iterable[str]) -> str:
    return " or ".join(map(repr, fields))


def _rows(location: str, hub_config: str | None, split: str) -> Iterator[tuple[str, Row]]:
    path = Path(location)
    if path.suffix in {".jsonl", ".json"}:
        yield from read_json_rows(path, "problems")
    elif is_hub_id(location) or path.is_dir():
        for number, row in enumerate(load_hub_dataset(location, "problems", hub_config, split)):
            yield f"{location}, row {number}", row
    else:
        raise FileNotFoundError(f"problems: {location!r} is neither a .jsonl or .json file nor a hub id (owner/name)")


def validation_problems(problem_ids: Sequence[str], fraction: float, seed: int = 0) -> npt.NDArray[np.bool_]:
    """The problems set aside for validation: a seeded choice by problem, so no problem is on both sides.

    A problem's place depends on its id and the seed alone, so adding problems moves few others.

    Args:
        problem_ids: all problems, each once ``[P]``.
        fraction: share to set aside, in [0, 1); at least one problem when above 0.
        seed: choice of the split.

    Returns:
        Whether each problem is set aside ``[P]``.

    Raises:
        ValueError: if the fraction is outside [0, 1) or would leave no problem to train on.
    """
    if not 0.0 <= fraction < 1.0:
        raise ValueError(f"validation fraction is {fraction}; it must be in [0, 1)")
    is_held_out = np.zeros(len(problem_ids), dtype=bool)
    if fraction == 0.0:
        return is_held_out
    count = max(1, round(fraction * len(problem_ids)))
    if count >= len(problem_ids):
        raise ValueError(
            f"a validation fraction of {fraction} of {len(problem_ids)} problem(s) leaves none to train on"
        )
    digests = (hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in problem_ids)
    is_held_out[np.argsort(np.fromiter(digests, dtype="S32", count=len(problem_ids)), kind="stable")[:count]] = True
    return is_held_out
