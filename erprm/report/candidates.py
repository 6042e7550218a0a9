"""The table of candidates that ``test`` writes beside its results, and what others read from it.

Shape suffixes: P problems, N candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from erprm.data.files.row_files import write_rows
from erprm.data.pools import GradedPool, PoolProblem
from erprm.metrics.evaluation import Candidates
from erprm.metrics.functional.aggregation import Aggregation, aggregate_pool
from erprm.report.pool_results import score_aggregations
from erprm.runs.atomic import encodable, write_finite_json

RESULTS_FILE, CANDIDATES_FILE = "results.json", "candidates.parquet"

CANDIDATE_SCHEMA = pa.schema(
    [
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("gold", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("level", pa.string()),
        pa.field("subject", pa.string()),
        pa.field("candidate", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("steps", pa.list_(pa.string()), nullable=False),
        pa.field("step_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("answer", pa.string()),
        pa.field("answer_id", pa.int32(), nullable=False),
        pa.field("correct", pa.bool_(), nullable=False),
    ]
)


def read_step_scores(folder: Path, pool_sha256: str) -> list[Tensor]:
    """The step scores that an earlier evaluation of the same pool has written, candidate after candidate.

    Raises:
        FileNotFoundError: if the folder holds no results.
        ValueError: if they are of another pool.
    """
    if not (folder / RESULTS_FILE).is_file():
        raise FileNotFoundError(f"baseline: {str(folder)!r} holds no {RESULTS_FILE}; expected a folder that test wrote")
    found = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))["determined_by"]["pool"]["sha256"]
    if found != pool_sha256:
        raise ValueError(
            f"baseline: {folder} holds the results of another pool (sha256 {found[:16]}, here {pool_sha256[:16]}); "
            "only scores of the same candidates can be compared"
        )
    return _step_scores(pq.read_table(folder / CANDIDATES_FILE, columns=["step_scores"]))


def _step_scores(table: pa.Table) -> list[Tensor]:
    scores = table["step_scores"].combine_chunks()
    scores_S = torch.from_numpy(scores.flatten().to_numpy().astype(np.float32))
    return list(scores_S.split(pc.list_value_length(scores).to_pylist()))


def read_candidates(path: Path, candidates: int | None = None) -> pa.Table:
    """A file of candidates.

    Args:
        path: the file.
        candidates: how many there must be, if the results beside it say so.

    Raises:
        ValueError: if it is no such file, or has another number of rows.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: is not a readable Parquet file ({error})") from error
    wrong = [
        field.name
        for field in CANDIDATE_SCHEMA
        if field.name not in table.column_names or table.schema.field(field.name).type != field.type
    ]
    if wrong:
        raise ValueError(
            f"{path}: column(s) {', '.join(wrong)} missing or of another type; expected a file that erprm test wrote"
        )
    if candidates not in (None, len(table)):
        raise ValueError(f"{path}: holds {len(table)} candidates, the results beside it are of {candidates}")
    return table


def problem_starts(table: pa.Table) -> list[int]:
    """The row at which each problem starts, and the number of rows."""
    return [row for row, number in enumerate(table["candidate"].to_pylist()) if number == 0] + [len(table)]


def valid_candidates(table: pa.Table) -> Tensor:
    """Which candidates there are, as a mask of shape [P, N]."""
    sizes_P = torch.tensor(problem_starts(table)).diff()
    return torch.arange(int(sizes_P.max())) < sizes_P[:, None]


def by_problem(values: Sequence[Any], valid_PN: Tensor, dtype: torch.dtype) -> Tensor:
    """A column of the table with a row a problem, shape [P, N]; zeros where there is no candidate."""
    return torch.zeros(valid_PN.shape, dtype=dtype).masked_scatter(valid_PN, torch.tensor(values, dtype=dtype))


def read_scored_pool(folder: Path) -> tuple[Candidates, dict[Aggregation, Tensor]]:
    """The graded candidates that ``test`` has written, and their scores by every aggregation that these allow.

    Raises:
        FileNotFoundError: if the folder holds no results of a pool.
        ValueError: if a file of it cannot be read.
    """
    for name in (RESULTS_FILE, CANDIDATES_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{str(folder)!r} holds no {name}; expected a folder best_of_n/NAME that erprm test wrote"
            )
    chosen: Aggregation = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))["aggregation"]
    table = read_candidates(folder / CANDIDATES_FILE)
    valid_PN = valid_candidates(table)
    texts: dict[str, int] = {}
    candidates = Candidates(
        by_problem(table["correct"].to_pylist(), valid_PN, torch.bool),
        by_problem(table["answer_id"].to_pylist(), valid_PN, torch.long),
        by_problem([texts.setdefault(text, len(texts)) for text in table["text"].to_pylist()], valid_PN, torch.long),
        valid_PN,
    )
    step_scores = _step_scores(table)
    return candidates, {
        aggregation: aggregate_pool(step_scores, valid_PN, aggregation)
        for aggregation in score_aggregations(step_scores, chosen)
    }


def write_pool_results(
    folder: Path,
    results: Mapping[str, Any],
    pool: Sequence[PoolProblem],
    graded: GradedPool,
    step_scores: Sequence[Tensor],
) -> None:
    """Writes ``candidates.parquet`` and then ``results.json``, each whole or not at all."""
    scores_PN = aggregate_pool(step_scores, graded.valid_PN, results["aggregation"])
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(_rows(pool, graded, step_scores, scores_PN), folder / CANDIDATES_FILE, CANDIDATE_SCHEMA)
    write_finite_json(results, folder / RESULTS_FILE)


def _rows(
    pool: Sequence[PoolProblem], graded: GradedPool, step_scores: Sequence[Tensor], scores_PN: Tensor
) -> Iterator[dict[str, Any]]:
    # The rank of each candidate among those of its problem, ties in the order of the pool.
    ranks_PN = scores_PN.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1
    solutions = iter(zip(graded.solutions, graded.answers, step_scores, strict=True))
    for p, entry in enumerate(pool):
        problem = entry.problem
        for n, text in enumerate(entry.candidates):
            solution, answer, of_steps = next(solutions)
            score = float(scores_PN[p, n])
            yield {
                "problem_id": encodable(problem.problem_id),
                "question": encodable(problem.question),
                "gold": encodable(problem.answer),
                "source": encodable(problem.source),
                "level": problem.groups.get("level"),
                "subject": problem.groups.get("subject"),
                "candidate": n,
                "text": encodable(text),
                "steps": [encodable(step) for step in solution.steps],
                "step_scores": of_steps.tolist(),
                "score": None if score == -torch.inf else score,
                "rank": int(ranks_PN[p, n]),
                "answer": None if answer is None else encodable(answer),
                "answer_id": int(graded.answers_PN[p, n]),
                "correct": bool(graded.correct_PN[p, n]),
            }
