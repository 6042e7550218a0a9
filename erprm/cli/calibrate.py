"""``erprm calibrate``: a map from the scores of a finished model to probabilities, saved beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from erprm.cli.commands import parse_settings
from erprm.cli.named_model import NamedModel, load_named
from erprm.errors import InputError
from erprm.inherited_help import inherits_help
from erprm.runs.identity import CALIBRATION_FILE

if TYPE_CHECKING:
    from erprm.data.step_labels import LabelledSolution
    from erprm.metrics.calibration import CalibrationGain
    from erprm.metrics.estimate import Estimate
    from erprm.metrics.functional.calibration_map import CalibrationMap, CalibrationMethod
    from erprm.report.step_results import ScoredSolutions
    from erprm.report.tables import Table
    from erprm.scoring import StepScorer


@inherits_help
@dataclass
class CalibrateConfig(NamedModel):
    """Fits a calibration of a trained model's scores to labelled steps, and saves it beside the model.

    Attributes:
        data: solutions with labelled steps, not those of the training: rollout records (the label of a step is the
            success rate of its completions), ProcessBench, or any layout that ``erprm convert`` reads; a file, a folder
            or a hub id.
        split: split of a hub data set.
        limit: at most this many solutions.
        method: ``temperature``, ``platt``, ``beta`` or ``isotonic``; or ``best``, the one of the least cross-fitted log
            loss, if that is less than the scores' own.
        folds: parts of the problems; for the reported losses each is calibrated by a map fitted to the others.
        seed: of the parts.
        output: file to write, in the place of an earlier calibration if there is one; by default ``calibration.json``
            in the folder of the model.
    """

    _: KW_ONLY
    data: str
    split: str = "train"
    limit: int | None = None
    method: Literal["best", "temperature", "platt", "beta", "isotonic"] = "best"
    folds: int = 5
    seed: int = 0
    output: str | None = None

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}; it must be at least 2")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1")


def main(arguments: Sequence[str]) -> int:
    """Scores, fits, writes, and shows what each method would bring."""
    config = parse_settings(CalibrateConfig, arguments)
    output = _output(config)

    from rich.console import Console

    from erprm.data.step_labels import labels_fingerprint, read_step_labels
    from erprm.metrics.calibration import calibration_gain, cross_fitted_calibration
    from erprm.metrics.functional.calibration_map import CALIBRATION_METHODS, NotRisingError, fit_calibration
    from erprm.models.calibration import refuse_other_file, write_calibration
    from erprm.models.identity import versions
    from erprm.runs.atomic import refuse_input

    refuse_input(output, [config.data])
    refuse_other_file(output)
    solutions = read_step_labels(config.data, config.split, config.limit)
    problems = len({each.solution.question for each in solutions})
    if problems < config.folds:
        raise InputError(
            f"data: {config.data} has labelled steps of {problems} problem(s), fewer than folds={config.folds}"
        )
    model = load_named(config)
    scored = _scored(model, solutions)
    scores_S, labels_S, problems_S = scored.labelled_steps

    gains: dict[CalibrationMethod, CalibrationGain] = {}
    fitted: dict[CalibrationMethod, CalibrationMap] = {}
    for each in CALIBRATION_METHODS if config.method == "best" else [config.method]:
        try:
            after_S = cross_fitted_calibration(scores_S, labels_S, problems_S, each, config.folds, config.seed)
            fitted[each] = fit_calibration(scores_S, labels_S, each)
        except NotRisingError as error:
            if config.method != "best":
                raise
            print(f"{each} is left out: {error}")
            continue
        gains[each] = calibration_gain(scores_S, after_S, labels_S, problems_S)
    method = min(gains, key=lambda each: gains[each].after.log_loss.mean)
    Console().print(calibration_table(gains, f"{len(labels_S)} steps of {int(problems_S.max()) + 1} problems").rich())
    if (change := gains[method].change.log_loss.mean) >= 0.0:
        worse = f"by {method}, the log loss on other problems is not lower than that of the scores ({change:+.4f})"
        if config.method == "best":
            raise InputError(f"no calibration is written: {worse}; name a method to have it all the same")
        print(worse)
    facts = {
        "data": {"file": config.data, "split": config.split, "limit": config.limit},
        "sha256": labels_fingerprint(scored.solutions),
        "solutions": len(scored.solutions),
        "too_long": len(solutions) - len(scored.solutions),
        "problems": int(problems_S.max()) + 1,
        "labelled_steps": len(labels_S),
        "cross_fitted": {"folds": config.folds, "seed": config.seed, **asdict(gains[method])},
        "versions": versions(),
    }
    write_calibration(fitted[method], model, facts, output)
    print(f"calibration by {method} written to {output}")
    return 0


def _output(config: CalibrateConfig) -> Path:
    if config.output is not None:
        return Path(config.output)
    if not Path(config.model).is_dir():
        raise InputError(f"output: needed, since {config.model!r} is not a folder that {CALIBRATION_FILE} could go to")
    return Path(config.model, CALIBRATION_FILE)


def _scored(model: StepScorer, solutions: Sequence[LabelledSolution]) -> ScoredSolutions:
    """The solutions that the model can read, with their scores."""
    from rich.console import Console

    from erprm.report.step_results import ScoredSolutions
    from erprm.runs.progress import scoring_bar
    from erprm.scoring import checked_scores, listening, refuse_nan

    ask = getattr(model, "too_long", None)
    too_long = ask([each.solution for each in solutions]) if callable(ask) else {}
    kept = [each for place, each in enumerate(solutions) if place not in too_long]
    if too_long:
        print(f"{len(too_long)} of {len(solutions)} solutions are longer than the model reads, and left out")
    if not kept:
        raise InputError(f"data: every one of {len(solutions)} solutions is longer than the model reads")
    texts = [each.solution for each in kept]
    with scoring_bar(Console(stderr=True)) as progress:
        task = progress.add_task("Scoring", total=len(texts))
        with listening(lambda count: progress.advance(task, count)):
            scores = checked_scores(model.score_steps(texts), texts)
    refuse_nan(scores, texts)
    return ScoredSolutions(kept, scores)


def calibration_table(gains: Mapping[CalibrationMethod, CalibrationGain], what: str) -> Table:
    """A row for the scores as they are, and one for each method."""
    from erprm.report.tables import Table

    (first, *_) = gains.values()
    rows = [["as they are", *map(_text, vars(first.before).values()), "-"]]
    rows += [
        [method, *map(_text, vars(gain.after).values()), _text(gain.change.log_loss)] for method, gain in gains.items()
    ]
    return Table(
        f"scores as probabilities: {what}",
        ["calibration", "log loss", "Brier score", "calibration error", "change of log loss"],
        rows,
        footnote="fitted on other problems than it is measured on; 95% intervals over problems",
    )


def _text(estimate: Estimate) -> str:
    mean, low, high = estimate
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"
