r"""Candidate pools for best-of-N: several solutions to each of a set of problems, with their gold answers.

A pool file is JSONL, or Parquet with the same columns; one problem a row:

    {"problem_id": "gsm8k/test/0", "question": "Janet's ducks ...", "answer": "18", "candidates": ["... #### 18", ...]}

``finish_reasons`` may say for each candidate whether it ended (``stop``) or was cut off at the limit of tokens
(``length``); one that was cut off has an answer only where it states one in a closed form.
``answer`` may be left out when a gold file has it. ``level`` and ``subject``, here or in the gold file, are the groups
that results are also given for. The same text may stand among the candidates of a problem several times, as a policy
samples it. The layout of GSM8K's ``example_model_solutions.jsonl``
(github.com/openai/grade-school-math: one column a model, each ``{"solution": ..., "is_correct": ...}``) is read too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from erprm.data.files.row_files import data_files, read_rows
from erprm.data.sources import Problem, answer_text, classified
from erprm.errors import InputError
from erprm.grading import (
    KINDS,
    BatchGrader,
    GradingSetting,
    OutcomeGrader,
    extract_answer,
    open_grader,
    outcome_rewards,
)
from erprm.grading.answers.normalize import normalize
from erprm.grading.answers.numeric import parse_number
from erprm.metrics.evaluation import Candidates
from erprm.runs.atomic import whole_file
from erprm.runs.identity import sha256_of
from erprm.steps import Solution, split_steps

__all__ = ["GradedPool", "PoolError", "PoolProblem", "grade_pool", "read_pool", "write_pool"]


class PoolError(InputError):
    """A pool that cannot be evaluated; the message names file and problem."""


@dataclass(frozen=True)
class PoolProblem:
    """A problem and its candidate solutions.

    Attributes:
        problem: the question with its gold answer.
        candidates: text of each candidate.
        finish_reasons: ``stop`` or ``length`` for each candidate; None in a pool that does not say.
    """

    problem: Problem
    candidates: tuple[str, ...]
    finish_reasons: tuple[str, ...] | None = None

    @property
    def cut_off(self) -> list[bool]:
        """For each candidate, whether it was cut off at the limit of tokens."""
        return [reason == "length" for reason in self.finish_reasons or ("stop",) * len(self.candidates)]


def read_pool(path: str | os.PathLike[str], gold: Sequence[Problem] | None = None) -> list[PoolProblem]:
    """Reads a pool file.

    Args:
        path: a ``.jsonl``, ``.json`` or ``.parquet`` file, or a folder of the latter.
        gold: problems with their answers, for pool rows that have none; matched by ``problem_id``, else by question.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read.
        PoolError: if a problem has no candidate, appears twice (by its ``problem_id``, or by its question if it
            has none), has no answer here nor in ``gold``, or its ``problem_id`` is in ``gold`` with another question;
            or if no problem has two candidates that differ.
    """
    data_files(path, "candidate pool")  # complains in the user's words
    pool: list[PoolProblem] = []
    place_of: dict[str, str] = {}
    golds = None if gold is None else _Golds(gold)
    for number, (place, row) in enumerate(read_rows(path)):
        where = str(place)
        entry = _pool_problem(_from_example_solutions(row), golds, number, where)
        # Without an id of its own a problem is told by its question as well: the row may appear twice.
        keys = [entry.problem.problem_id] + ([] if _has_id(row) else [_one_spaced(entry.problem.question)])
        for key in keys:
            if key in place_of:
                raise PoolError(f"{where}: problem {key[:60]!r} is also that of {place_of[key]}")
            place_of[key] = where
        pool.append(entry)
    if not pool:
        raise PoolError(f"{path}: holds no problem")
    if all(len(set(entry.candidates)) == 1 < len(entry.candidates) for entry in pool):
        raise PoolError(
            f"{path}: the candidates of each problem are copies of one text, among which there is nothing to choose; "
            "were they sampled with temperature 0?"
        )
    return pool


def _has_id(row: Mapping[str, Any]) -> bool:
    return row.get("problem_id") not in (None, "")


class _Golds:
    """Gold answers by problem id and by question."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.by_id = {problem.problem_id: problem for problem in problems}
        self.by_question = {_one_spaced(problem.question): problem for problem in problems}

    def find(self, problem_id: str, question: str, where: str) -> Problem | None:
        of_id, of_question = self.by_id.get(problem_id), self.by_question.get(_one_spaced(question))
        if of_id is not None and _one_spaced(of_id.question) != _one_spaced(question):
            raise PoolError(
                f"{where}: problem {problem_id!r} asks {question[:60]!r}, but in the gold file it asks "
                f"{of_id.question[:60]!r}"
            )
        return of_id or of_question


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def _pool_problem(row: Mapping[str, Any], golds: _Golds | None, number: int, where: str) -> PoolProblem:
    question, candidates = row.get("question"), row.get("candidates")
    try:
        answer = answer_text(row.get("answer"), "answer", where)
    except ValueError as error:
        raise PoolError(str(error)) from error
    if not isinstance(question, str) or not question.strip():
        raise PoolError(f"{where}: field 'question' is {question!r}; expected a text that is not blank")
    if not isinstance(candidates, list) or not candidates or not all(isinstance(text, str) for text in candidates):
        raise PoolError(f"{where}: field 'candidates' is {str(candidates)[:80]}; expected a list of at least one text")
    reasons = row.get("finish_reasons")
    if reasons is not None and (
        not isinstance(reasons, list)
        or len(reasons) != len(candidates)
        or not all(each in ("stop", "length") for each in reasons)
    ):
        raise PoolError(
            f"{where}: field 'finish_reasons' is {str(reasons)[:80]}; expected 'stop' or 'length' for each of the "
            f"{len(candidates)} candidates"
        )
    source = str(row.get("source") or "pool")
    problem_id = str(row["problem_id"]) if _has_id(row) else f"{source}/{number}"
    gold = golds.find(problem_id, question, where) if golds is not None else None
    if not answer.strip():
        if golds is None:
            raise PoolError(f"{where}: problem {problem_id!r} has no answer, and no gold file was given")
        if gold is None:
            raise PoolError(
                f"{where}: problem {problem_id!r} is not in the gold file and has no answer here; it asks "
                f"{question[:60]!r}"
            )
        answer = gold.answer
    problem = Problem(problem_id, question, answer, source)
    problem = classified(problem, {**(gold.groups if gold is not None else {}), **row})
    return PoolProblem(problem, tuple(candidates), None if reasons is None else tuple(reasons))


def _from_example_solutions(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if "candidates" in row or "ground_truth" not in row:
        return row
    return {
        "question": row.get("question"),
        "answer": extract_answer(str(row["ground_truth"]), "gsm8k"),
        "candidates": [value["solution"] for value in row.values() if isinstance(value, dict) and "solution" in value],
        "source": "gsm8k",
    }


def write_pool(pool: Sequence[PoolProblem], path: str | os.PathLike[str]) -> None:
    """Writes a pool file; it appears only once it is complete."""
    with whole_file(Path(path)) as file:
        for entry in pool:
            file.write(_line(entry).encode())


def pool_fingerprint(pool: Sequence[PoolProblem]) -> str:
    """SHA-256 of the problems with their answers and candidates, whatever file they come from."""
    return sha256_of(_line(entry).encode(errors="surrogatepass") for entry in pool)


def _line(entry: PoolProblem) -> str:
    reasons = {} if entry.finish_reasons is None else {"finish_reasons": entry.finish_reasons}
    return json.dumps({**asdict(entry.problem), "candidates": entry.candidates, **reasons}, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class GradedPool(Candidates):
    """A pool as tensors, with its texts.

    Attributes:
        problem_ids: name of each problem.
        solutions: question and steps of every real candidate, problem after problem.
        answers: text of its final answer; None where none was found, or a grader of one's own reads it.
        cut_off: whether it was cut off at the limit of tokens.
    """

    problem_ids: list[str]
    solutions: list[Solution]
    answers: list[str | None]
    cut_off: list[bool]


def grade_pool(
    pool: Sequence[PoolProblem],
    kind: GradingSetting,
    step_style: str,
    grader: OutcomeGrader | BatchGrader | None = None,
    correct_threshold: float = 0.5,
) -> GradedPool:
    """Grades every candidate and splits it into steps.

    Args:
        pool: problems with candidates.
        kind: ``gsm8k``, ``math`` or ``auto`` (see :func:`erprm.grading.grade`), or a grader of your own (see
            :func:`erprm.grading.open_grader`); wrong candidates then vote for each other only if their texts are equal.
        step_style: how candidates are split; see :func:`erprm.steps.segment_steps`.
        grader: a running grader; by default ``kind`` says which one is made for this call.
        correct_threshold: reward from which a candidate counts as correct.

    Raises:
        ValueError: if the kind or the step style is unknown, or a grader of your own fails.
    """
    answer_kind = next((known for known in KINDS if known == kind), None)
    solutions = [
        Solution(entry.problem.question, split_steps(text, step_style)) for entry in pool for text in entry.candidates
    ]
    pairs = [(text, entry.problem.answer) for entry in pool for text in entry.candidates]
    cut_off = [each for entry in pool for each in entry.cut_off]
    with nullcontext(grader) if grader is not None else open_grader(kind, "kind") as running:
        rewards = iter(outcome_rewards(running, pairs, answer_kind or "auto", "kind", cut_off))
    shape = (len(pool), max((len(entry.candidates) for entry in pool), default=0))
    correct_PN = torch.zeros(shape, dtype=torch.bool)
    answers_PN, texts_PN = torch.full(shape, -1), torch.full(shape, -1)
    valid_PN = torch.zeros(shape, dtype=torch.bool)
    answers: list[str | None] = []
    for p, entry in enumerate(pool):
        numbers: dict[Hashable, int] = {}
        texts: dict[str, int] = {}
        for n, (text, is_cut_off) in enumerate(zip(entry.candidates, entry.cut_off, strict=True)):
            correct_PN[p, n] = correct = next(rewards) >= correct_threshold
            answers.append(extract_answer(text, answer_kind, is_cut_off) if answer_kind else None)
            key = _RIGHT if correct else answer_key(answers[-1] if answer_kind else text)
            if key is not None:
                answers_PN[p, n] = numbers.setdefault(key, len(numbers))
            texts_PN[p, n] = texts.setdefault(text, len(texts))
            valid_PN[p, n] = True
    problem_ids = [entry.problem.problem_id for entry in pool]
    return GradedPool(correct_PN, answers_PN, texts_PN, valid_PN, problem_ids, solutions, answers, cut_off)


_RIGHT = "the right answer", True


def answer_key(answer: str | None) -> Hashable:
    """A key that is equal for answers that vote together: 2 and 2.00, or one expression in two spellings."""
    if answer is None:
        return None
    spelling = normalize(answer)
    number = parse_number(spelling)
    return "".join(spelling.split()) if number is None else number.value
