"""Step scores against step labels, such as those of ProcessBench."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

import lightning as L

from erprm.callbacks.scoring import ScoringCallback, TooLong
from erprm.data.step_labels import LabelledSolution, labels_fingerprint, read_step_labels
from erprm.models.identity import model_identity, versions
from erprm.report.figures import calibration_figure
from erprm.report.samples import labelled_samples
from erprm.report.step_results import (
    ScoredSolutions,
    Threshold,
    choose_threshold,
    share_of_problems,
    step_results,
    write_step_results,
)
from erprm.runs.atomic import write_finite_json

log = logging.getLogger(__name__)


class StepEvaluation(ScoringCallback):
    """Scores solutions whose steps are labelled, and says how well the scores tell right from wrong.

    Logged for each data set are ``<name>/<data>/f1`` (ProcessBench's F1), ``wrong`` and ``right`` (the two accuracies
    that it is the harmonic mean of), ``first_error_accuracy``, ``auroc_within_problems`` and, for scores in [0, 1],
    ``calibration_error``. Intervals, step accuracies, the calibration curve and a sweep over thresholds are in
    ``results``, and in files: ``<run>/steps/<name>-step=<step>.json`` of a validation epoch,
    ``<run>/steps/<name>/`` of ``test`` (see docs/evaluation.md). Calibration is drawn and some solutions are listed
    with the scores of their steps, for TensorBoard and Weights & Biases as well as in files.

    The threshold below which a step is called wrong is given, or chosen as the one of the largest F1: on a data set
    that ``threshold_from`` names, or else on a share of the problems, which then do not count in the results.

    Attributes:
        results: what was written last.
    """

    folder = "steps"

    def __init__(
        self,
        data: dict[str, str],
        name: str = "steps",
        threshold: float | None = None,
        threshold_from: str | None = None,
        threshold_share: float = 0.25,
        split: str | None = None,
        limit: int | None = None,
        seed: int = 0,
        every_n_epochs: int = 1,
        samples: int = 8,
        too_long: TooLong = "skip",
    ) -> None:
        """Notes the settings; nothing is read yet.

        Args:
            data: labelled solutions by name: files of ProcessBench or of any layout that ``erprm convert`` reads,
                folders of Parquet files, or hub ids.
            name: opens the names of the logged values; two callbacks in one trainer need two names.
            threshold: a score below it calls a step wrong; by default it is chosen.
            threshold_from: name of the data set to choose it on, as the authors of ProcessBench do with their GSM8K
                part; the F1 of that data set itself is then that of a chosen threshold.
            threshold_share: without ``threshold_from``: share of the problems of each data set to choose it on, in
                (0, 1).
            split: split of hub data sets; by default the name of each, as in ``gsm8k: Qwen/ProcessBench``.
            limit: at most this many solutions of each data set.
            seed: of the choice of these problems.
            every_n_epochs: epochs between evaluations in ``fit``.
            samples: solutions of each data set, half of them with a wrong step, that are shown.
            too_long: what becomes of solutions that are longer than the model's context: ``skip`` warns, and leaves
                them out of the results, which say how many they are; ``stop`` refuses the data.

        Raises:
            ValueError: if a setting is out of range, or ``threshold_from`` names none of ``data``.
        """
        if not data:
            raise ValueError("data names no file; give at least one, as name: file")
        if threshold_from is not None and threshold_from not in data:
            raise ValueError(f"threshold_from is {threshold_from!r}; it must be one of data: {', '.join(data)}")
        if threshold is not None and threshold_from is not None:
            raise ValueError("both threshold and threshold_from are set; give one of them")
        if not 0.0 < threshold_share < 1.0:
            raise ValueError(f"threshold_share is {threshold_share}; it must be in (0, 1)")
        super().__init__(name, limit=limit, every_n_epochs=every_n_epochs, samples=samples, too_long=too_long)
        self.data = data
        self.threshold = threshold
        self.threshold_from = threshold_from
        self.threshold_share = threshold_share
        self.split = split
        self.seed = seed
        self.results: dict[str, Any] = {}
        self._solutions: dict[str, list[LabelledSolution]] = {}
        self._chose: dict[str, list[bool]] = {}
        self._fingerprints: dict[str, str] = {}
        self._left_out: dict[str, int] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Reads the data before anything is scored.

        Raises:
            TypeError: if the module has no ``score_steps``.
            FileNotFoundError: if a file does not exist.
            ValueError: if a file cannot be used, another callback has the same name, or the threshold is to be chosen
                on solutions that all have a wrong step, or none.
        """
        if stage == "predict":
            return
        super().setup(trainer, pl_module, stage)
        for name, source in self.data.items():
            self._solutions[name] = read_step_labels(source, self.split or name, self.limit)
            self._fingerprints[name] = labels_fingerprint(self._solutions[name])
        self._left_out = {}
        self._chose = {name: self._chosen_of(name) for name in self._solutions}
        if self.threshold is None:
            self._check_choice()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks before training for solutions that the module cannot read.

        Raises:
            ValueError: if there is one, and ``too_long`` is ``stop``; or if a data set has no other.
        """
        self._leave_out_too_long(pl_module)

    def _leave_out_too_long(self, module: L.LightningModule) -> None:
        """Leaves out the solutions that are too long for the module, once."""
        if self._left_out:
            return
        for name, of_data in self._solutions.items():
            too_long = self.find_too_long(
                module,
                [each.solution for each in of_data],
                name_of=partial("solution {1} of {0}".format, name),
                consequence="they are left out of the results",
            )
            if len(too_long) == len(of_data):
                raise ValueError(f"{self.name}: every solution of {name} is longer than the model's context")
            kept = [place for place in range(len(of_data)) if place not in too_long]
            self._solutions[name] = [of_data[place] for place in kept]
            self._chose[name] = [self._chose[name][place] for place in kept]
            self._left_out[name] = len(too_long)

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates, and writes the scores as well."""
        scored, threshold = self.evaluate(trainer, pl_module)
        model, folder = model_identity(pl_module), self.log_folder(trainer)  # Both take all processes.
        determined_by = {
            "model": model,
            "data": {
                name: {"file": self.data[name], "sha256": fingerprint}
                for name, fingerprint in self._fingerprints.items()
            },
            "split": self.split,
            "limit": self.limit,
            "seed": self.seed,
            "too_long": self.too_long,
            "precision": str(trainer.precision),
            "versions": versions(),
        }
        self.results = {"name": self.name, "determined_by": determined_by, **self.results}
        if folder is not None:
            folder /= self.file_name
            write_step_results(folder, self.results, scored, threshold, self._chose)
            log.info("%s: %s", self.name, folder)

    def evaluate(self, trainer: L.Trainer, module: L.LightningModule) -> tuple[dict[str, ScoredSolutions], float]:
        """Scores, logs and shows; what was scored, and the threshold."""
        self._leave_out_too_long(module)
        solutions = [each.solution for of_data in self._solutions.values() for each in of_data]
        scores = iter(self.score(trainer, module, solutions))
        scored = {
            name: ScoredSolutions(of_data, [next(scores) for _ in of_data]) for name, of_data in self._solutions.items()
        }
        threshold = self._threshold(scored)
        judged = scored
        if self.threshold is None and self.threshold_from is None:
            judged = {name: of_data.part([not was for was in self._chose[name]]) for name, of_data in scored.items()}
        by_data = {
            name: {"too_long": self._left_out[name], **step_results(of_data, threshold.value)}
            for name, of_data in judged.items()
        }
        self._log(module, by_data)
        self.results = {"name": self.name, "threshold": asdict(threshold), "data": by_data}
        if (folder := self.log_folder(trainer)) is not None:
            is_calibrated = any(results["calibration"] is not None for results in by_data.values())
            draw = partial(calibration_figure, by_data, f"{self.name}: calibration") if is_calibrated else None
            self.show(trainer, folder, "calibration", draw, labelled_samples(judged, threshold.value, self.samples))
            if not trainer.testing:  # A test writes more, in a folder of its own.
                at = {"epoch": trainer.current_epoch, "step": trainer.global_step}
                write_finite_json({**at, **self.results}, self.step_file(folder, trainer, ".json"))
        return scored, threshold.value

    @property
    def _chosen_on(self) -> str:
        share = (
            f"{self.threshold_share:.0%} of the problems of {', '.join(self.data)} (seed {self.seed}), left out below"
        )
        return self.threshold_from or share

    def _chosen_of(self, name: str) -> list[bool]:
        """Marks the solutions of a data set on which the threshold is chosen."""
        solutions = self._solutions[name]
        if self.threshold is None and self.threshold_from is None:
            return share_of_problems(solutions, self.threshold_share, self.seed)
        return [name == self.threshold_from] * len(solutions)

    def _check_choice(self) -> None:
        chosen = [
            each
            for name, of_data in self._solutions.items()
            for each, is_chosen in zip(of_data, self._chose[name], strict=True)
            if is_chosen
        ]
        wrong = sum(each.first_error >= 0 for each in chosen)
        if not 0 < wrong < len(chosen):
            raise ValueError(
                f"no threshold can be chosen on {self._chosen_on}: {wrong} of {len(chosen)} solutions have a wrong "
                "step; it needs solutions with and without one"
            )

    def _threshold(self, scored: dict[str, ScoredSolutions]) -> Threshold:
        if self.threshold is not None:
            return Threshold(self.threshold, "given", 0, float("nan"))
        parts = [of_data.part(self._chose[name]) for name, of_data in scored.items()]
        together = ScoredSolutions(
            [each for part in parts for each in part.solutions], [each for part in parts for each in part.step_scores]
        )
        return choose_threshold(together, self._chosen_on)

    def _log(self, module: L.LightningModule, by_data: dict[str, dict[str, Any]]) -> None:
        values: dict[str, float] = {}
        for name, results in by_data.items():
            of_data = {
                **{key: of_key["mean"] for key, of_key in results["processbench"].items()},
                "first_error_accuracy": results["first_error_accuracy"]["mean"],
                "auroc_within_problems": results["auroc_within_problems"],
                "calibration_error": results["calibration_error"],
            }
            values |= {f"{name}/{key}": value for key, value in of_data.items() if value is not None}
        self.log_values(module, values)
