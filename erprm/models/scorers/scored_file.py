"""Scores the steps of a file of solutions, some rows at a time; the output is atomic, and a stopped run resumes.

While it is being made, the output is a hidden folder beside the place where it is to be: what has been written, and how
far the input has been read. The next run that would write the same continues from there.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from erprm.data.files.json_rows import Place, stop
from erprm.data.formats.conversion import rejected_line, rejected_path
from erprm.data.solutions import SolutionRow, solution_rows
from erprm.engines.base import failing_at
from erprm.metrics.functional.aggregation import Aggregation, aggregate_steps
from erprm.models.attention.masks import AttentionError
from erprm.runs.atomic import json_line, refuse_input, remove_leftovers, write_json
from erprm.runs.folder import differing_lines
from erprm.runs.identity import file_sha256
from erprm.runs.lock import sole_use
from erprm.scoring import ScorerError, StepScorer, checked_scores
from erprm.steps import check_step_style

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredRows:
    """Outcome for the rows of a file.

    Attributes:
        written: rows with scores.
        rejected: rows written aside.
        resumed: rows, of either kind, that an earlier run had done.
    """

    written: int
    rejected: int
    resumed: int


def score_file(
    scorer: StepScorer,
    source: str | Path,
    output: str | Path,
    *,
    scorer_identity: Mapping[str, Any],
    step_style: str = "lines",
    aggregation: Aggregation = "min",
    rows_at_once: int = 256,
    skip_rejected: bool = False,
    on_progress: Callable[[int], None] = lambda rows: None,
) -> ScoredRows:
    """Writes each row with its ``steps``, their ``step_scores`` and their aggregated ``score``, in the order given.

    Memory does not grow with the number of rows.

    Args:
        scorer: what scores the steps.
        source: solutions, as :func:`erprm.data.solutions.solution_rows` reads them.
        output: JSON lines to write.
        scorer_identity: what determines the scores, as values of JSON; with another one nothing is resumed.
        step_style: how a row's ``solution`` is split into steps.
        aggregation: score of a solution from those of its steps.
        rows_at_once: rows that are scored together; after each such part the progress is saved.
        skip_rejected: write rows that cannot be scored to :func:`.rejected_path`, with their place
            and the reason; otherwise the first of them ends the run.
        on_progress: called with the number of rows that are done: first with that of an earlier run, then after each
            part.

    Raises:
        FileNotFoundError: if there is no such source.
        RowError: at the first row that cannot be scored, unless these are skipped.
        ScorerError: if the scorer returns more or fewer scores than there are steps; names the solution.
        EngineError: if what serves the model has failed; names the rows that it was asked for.
        ValueError: if the output would replace the source, or another command is writing it, the step style is unknown,
            or no row can be scored.
    """
    check_step_style(step_style)
    source, output = Path(source), Path(output)
    if not source.is_file():
        raise FileNotFoundError(f"solutions: {str(source)!r} does not exist")
    refuse_input(output, [source])
    key = {
        "source": file_sha256(source),
        "scorer": dict(scorer_identity),
        "step_style": step_style,
        "aggregation": aggregation,
    }
    with _Unfinished(output, key) as unfinished:
        first_reason: list[str] = []

        def reject(place: Place, reason: str, row: object) -> None:
            if place.number <= unfinished.last_row:
                return  # An earlier run has written it.
            if not skip_rejected:
                stop(place, reason, row)
            first_reason[:] = first_reason or [f"{place}: {reason}"]
            unfinished.reject(rejected_line(place, reason, row))

        resumed = unfinished.written + unfinished.rejected
        on_progress(resumed)
        rows = (
            (place, row)
            for place, row in solution_rows(source, step_style, reject)
            if place.number > unfinished.last_row
        )
        done = resumed
        while part := list(islice(rows, rows_at_once)):
            with failing_at(
                f"{source}, rows {part[0][0].number} to {part[-1][0].number}",
                f"{done} row(s) are done; the same command continues from there.",
            ):
                part_scores = _scores(scorer, part, reject)
            for (_, row), scores in zip(part, part_scores, strict=True):
                if scores is not None:
                    unfinished.write(_line(row, scores, aggregation))
            unfinished.save(part[-1][0].number)
            done = unfinished.written + unfinished.rejected
            on_progress(done)
        if not unfinished.written:
            unfinished.discard()
            why = f"; {first_reason[0]}" if first_reason else ""
            raise ValueError(f"{source}: none of its rows can be scored{why}")
        unfinished.finish()
        return ScoredRows(unfinished.written, unfinished.rejected, resumed)


def _scores(
    scorer: StepScorer, part: Sequence[tuple[Place, SolutionRow]], reject: Callable[[Place, str, object], None]
) -> list[Tensor | None]:
    """Step scores of some rows; ``None`` for those that were rejected."""
    scores: list[Tensor | None]
    try:
        solutions = [row.solution for _, row in part]
        scores = list(checked_scores(scorer.score_steps(solutions), solutions))
    except (AttentionError, ScorerError):
        raise  # No fault of a row.
    except ValueError as error:
        if len(part) == 1:
            ((place, row),) = part
            reject(place, str(error), row.row)
            return [None]
        return [scores for single in part for scores in _scores(scorer, [single], reject)]
    for number, (place, row) in enumerate(part):
        found = scores[number]
        if found is not None and not torch.isfinite(found).all():
            reject(place, f"a step has the score {found[~found.isfinite()][0].item()}; expected a number", row.row)
            scores[number] = None
    return scores


def _line(row: SolutionRow, scores: Tensor, aggregation: Aggregation) -> bytes:
    written = {
        **row.row,
        "steps": list(row.solution.steps),
        "step_scores": scores.tolist(),
        "score": aggregate_steps(scores, aggregation).item(),
    }
    return json_line(written)


class _Unfinished:
    """An output that is being made."""

    def __init__(self, output: Path, key: Mapping[str, Any]) -> None:
        self._output = output
        self._key = json.loads(json.dumps(key))
        self._folder = output.with_name(f".{output.name}.unfinished")
        self._files = ExitStack()
        self._files.enter_context(sole_use(self._folder))
        remove_leftovers(self._folder)
        self._state_file = self._folder / "state.json"
        state = self._saved_state()
        self.last_row: int = state["last_row"]
        self.written: int = state["written"]
        self.rejected: int = state["rejected"]
        self._rows = self._files.enter_context(_opened_at(self._folder / "rows.jsonl", state["bytes"]))
        self._rejected = self._files.enter_context(_opened_at(self._folder / "rejected.jsonl", state["rejected_bytes"]))

    def _saved_state(self) -> dict[str, Any]:
        """Progress of an earlier run with the same output."""
        if self._state_file.exists():
            state: dict[str, Any] = json.loads(self._state_file.read_text(encoding="utf-8"))
            lengths = {"rows.jsonl": state["bytes"], "rejected.jsonl": state["rejected_bytes"]}
            if state["key"] != self._key:
                log.warning(
                    "%s: an earlier run scored with other settings, so all rows are scored again:%s",
                    self._output,
                    differing_lines(state["key"], self._key),
                )
            elif all(_length(self._folder / name) >= length for name, length in lengths.items()):
                return state
            # Otherwise the earlier run was killed while it gave its files their names.
            self._state_file.unlink()
        return {"last_row": 0, "written": 0, "rejected": 0, "bytes": 0, "rejected_bytes": 0}

    def __enter__(self) -> _Unfinished:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._state_file.exists():
            self.discard()  # There is nothing to go on from.
        self._files.close()

    def write(self, line: bytes) -> None:
        self._rows.write(line)
        self.written += 1

    def reject(self, line: bytes) -> None:
        self._rejected.write(line)
        self.rejected += 1

    def save(self, last_row: int) -> None:
        """Notes that all rows up to this one are done."""
        self.last_row = last_row
        state = {
            "key": self._key,
            "last_row": last_row,
            "written": self.written,
            "rejected": self.rejected,
            "bytes": _flushed(self._rows),
            "rejected_bytes": _flushed(self._rejected),
        }
        write_json(state, self._state_file)

    def finish(self) -> None:
        """Gives the output its name."""
        _flushed(self._rows)
        _flushed(self._rejected)
        aside = rejected_path(self._output)
        if self.rejected:
            (self._folder / "rejected.jsonl").replace(aside)
        else:
            # What an earlier run left there would be taken for this one's.
            aside.unlink(missing_ok=True)
        (self._folder / "rows.jsonl").replace(self._output)
        self.discard()

    def discard(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _opened_at(path: Path, length: int) -> BinaryIO:
    """Opens a file behind its first so many bytes, which are all that is left of it."""
    path.touch()
    file = path.open("r+b")
    file.truncate(length)
    file.seek(length)
    return file


def _flushed(file: BinaryIO) -> int:
    """Brings a file onto the disk; how long it is."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()
