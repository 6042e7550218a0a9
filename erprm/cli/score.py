"""``erprm score``: step scores of one solution, in colour, or of a file of solutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from erprm.cli.commands import PAIR, parse_settings
from erprm.cli.named_model import NamedModel, load_named
from erprm.errors import InputError
from erprm.eta import Eta, read_eta
from erprm.inherited_help import inherits_help
from erprm.metrics.functional.aggregation import Aggregation, aggregator
from erprm.models.scorers.settings import is_url
from erprm.steps import Solution, check_step_style, split_steps

if TYPE_CHECKING:
    from erprm.models.adapters import AdaptedRewardModel
    from erprm.models.scorers import HTTPStepScorer


@inherits_help
@dataclass
class ScoreConfig(NamedModel):
    """Scores the steps of one solution (``question`` and ``solution``) or of a file of solutions (``jsonl``).

    Attributes:
        question: the question.
        solution: the solution, as one text.
        jsonl: file of solutions to read and file of JSON lines to write, with ``steps``, ``step_scores`` and ``score``.
        calibration: file of ``erprm calibrate`` that turns scores into probabilities, or ``auto`` for
            ``calibration.json`` beside the model.
        step_style: how a solution is split into steps; see the page on steps.
        aggregation: score of a solution from those of its steps.
        score_eta: attitude of step scores to what the model is not sure of: below 0 marks uncertain steps down, above 0
            up; for a model trained with ``model.loss=beta_binomial``.
        on_error: what a row of the file that cannot be scored does: ``stop`` ends the command, ``skip`` leaves it out
            and writes it, with its line and the reason, to ``OUT.rejected.jsonl``.
        rows_at_once: rows of the file that are read and scored together; after each such part the progress is saved.
    """

    question: str | None = None
    solution: str | None = None
    jsonl: list[str] | None = field(default=None, metadata=PAIR)
    calibration: str | None = None
    step_style: str = "lines"
    aggregation: Aggregation = "min"
    score_eta: Eta = 0.0
    on_error: Literal["stop", "skip"] = "stop"
    rows_at_once: int = 256

    def __post_init__(self) -> None:
        one = self.question is not None and self.solution is not None
        if one == (self.jsonl is not None) or (self.question is None) != (self.solution is None):
            raise ValueError("give either question and solution, or jsonl with two files")
        if self.rows_at_once < 1:
            raise ValueError(f"rows_at_once is {self.rows_at_once}; it must be at least 1")
        check_step_style(self.step_style, "step_style")
        aggregator(self.aggregation)
        if read_eta(self.score_eta, "score_eta") != 0.0 and is_url(self.model):
            raise ValueError(
                f"score_eta is {self.score_eta}, but a served model gives probabilities alone, which do not say how "
                "sure it is: load the model here, or leave score_eta at 0"
            )


def main(arguments: Sequence[str]) -> int:
    """Scores, and prints or writes the scores."""
    config = parse_settings(ScoreConfig, arguments)
    solution = _solution(config)
    if config.jsonl is not None and not Path(config.jsonl[0]).is_file():
        problem = "is a folder; expected a file" if Path(config.jsonl[0]).is_dir() else "does not exist"
        raise InputError(f"jsonl: {config.jsonl[0]!r} {problem}")
    model = load_named(config, config.calibration, config.score_eta)
    if solution is not None:
        from rich.console import Console

        from erprm.report.samples import print_scored_solution

        (scores,) = model.score_steps([solution])
        print_scored_solution(solution, scores, config.aggregation, Console(highlight=False, soft_wrap=True))
    else:
        _score_file(model, config)
    return 0


def _solution(config: ScoreConfig) -> Solution | None:
    if config.question is None or config.solution is None:
        return None
    steps = split_steps(config.solution, config.step_style)
    if not steps:
        raise ValueError("the solution is blank; expected at least one step")
    return Solution(config.question, steps)


def _score_file(model: AdaptedRewardModel | HTTPStepScorer, config: ScoreConfig) -> None:
    from rich.console import Console

    from erprm.data.files.json_rows import count_rows
    from erprm.data.formats.conversion import rejected_path
    from erprm.models.scorers.scored_file import score_file
    from erprm.runs.progress import scoring_bar
    from erprm.scoring import listening

    assert config.jsonl is not None
    source, output = config.jsonl
    with scoring_bar(Console(stderr=True)) as progress:
        total = count_rows(Path(source)) if not progress.disable and Path(source).is_file() else None
        task = progress.add_task("Scoring", total=total, start=False)

        def show(rows: int) -> None:
            if progress.tasks[task].started:
                progress.update(task, completed=rows)
            else:  # What an earlier run has done says nothing about the speed.
                progress.reset(task, completed=rows)

        with listening(lambda count: progress.advance(task, count)):
            result = score_file(
                model,
                source,
                output,
                scorer_identity=_identity(model),
                step_style=config.step_style,
                aggregation=config.aggregation,
                rows_at_once=config.rows_at_once,
                skip_rejected=config.on_error == "skip",
                on_progress=show,
            )
    resumed = f", {result.resumed} of them by an earlier run" if result.resumed else ""
    print(f"{result.written} row(s) scored and written to {output}{resumed}")
    if result.rejected:
        print(f"{result.rejected} row(s) rejected and written to {rejected_path(output)}")


def _identity(model: AdaptedRewardModel | HTTPStepScorer) -> dict[str, Any]:
    """Everything that affects the scores, except the rows."""
    import erprm
    from erprm.models.identity import scorer_identity

    return {**scorer_identity(model, "model"), "version": erprm.__version__}
