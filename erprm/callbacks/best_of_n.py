"""Best-of-N on a fixed pool of candidates, at every validation epoch, with the current model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from erprm.callbacks.logged_media import log_figure
from erprm.callbacks.run_cost import Cost, Stopwatch
from erprm.callbacks.scoring import ScoringCallback, TooLong
from erprm.data.datamodule import default_cache_dir
from erprm.data.pools import GradedPool, PoolProblem, grade_pool, pool_fingerprint, read_pool
from erprm.data.sources import load_problems
from erprm.eta import Eta, read_eta
from erprm.grading import check_grading
from erprm.metrics.estimate import Curve
from erprm.metrics.evaluation import pool_curves, powers_of_two, score_curves
from erprm.metrics.functional.aggregation import Aggregation, aggregate_pool, aggregator
from erprm.models.identity import model_identity, versions
from erprm.report.candidates import read_step_scores, write_pool_results
from erprm.report.figures import curves_figure, vote_figure
from erprm.report.pool_results import pool_results
from erprm.report.samples import pool_samples
from erprm.rollout.pools import PoolSampling, cached_pool
from erprm.runs.atomic import write_finite_json
from erprm.steps import Solution, check_step_style

log = logging.getLogger(__name__)


class BestOfN(ScoringCallback):
    """Scores a pool of candidate solutions and logs how often the best-scored of n is right.

    The pool is read (or sampled) and graded once; at each validation epoch its candidates are scored by the module's
    ``score_steps`` (see :class:`erprm.models.StepScorer`, all that is asked of the module). Logged are

    - ``<name>/bon@n``: expected accuracy of the best-scored of n candidates, exact over all subsets of the pool,
    - ``<name>/weighted_vote@n``: of the answer whose candidates' scores sum highest (left out if a score is negative),
    - ``<name>/entropic_vote@n``: of the answer that the optimal policy of eta = ``vote_eta`` would give most often (see
      :func:`erprm.metrics.entropic_vote_accuracy`),
    - ``<name>/majority@n``, ``<name>/pass@n``, ``<name>/random@n``, ``<name>/random_text@n``: what the pool reaches
      with no scores (see :data:`erprm.metrics.evaluation.POOL_METHODS`).

    Each is a mean over problems; the 95% intervals are in ``results`` and in the files written under
    ``<run>/best_of_n/``, with the curves as a figure and some solutions with the scores of their steps; TensorBoard
    and Weights & Biases show the latter two as well. ``ModelCheckpoint(monitor="gsm8k/bon@4")`` finds the logged value.
    Several processes share the pool among them (see :func:`erprm.callbacks.scoring.score_on_all_ranks`).

    ``test`` also writes ``<run>/best_of_n/<name>/results.json``, with every aggregation, the differences between
    methods, groups of problems and reward hacking, and ``candidates.parquet``, with every candidate and the scores of
    its steps (see docs/evaluation.md). All comes from one scoring pass.

    Attributes:
        results: curve of each method, of the latest evaluation.
        peak: in ``test``, fields of :class:`erprm.metrics.functional.peak.PeakOfBestOfN`; None for too small a pool.
    """

    folder = "best_of_n"

    def __init__(
        self,
        candidates: str | PoolSampling,
        name: str = "best_of_n",
        gold: str | None = None,
        gold_source: Literal["gsm8k", "math", "jsonl"] = "jsonl",
        kind: str | dict[str, Any] | Callable[[str, str], float] = "auto",
        step_style: str = "lines",
        aggregation: Aggregation = "min",
        ns: list[int] | None = None,
        limit: int | None = None,
        every_n_epochs: int = 1,
        correct_threshold: float = 0.5,
        baseline: str | None = None,
        samples: int = 8,
        too_long: TooLong = "skip",
        cost_file: str | None = None,
        vote_eta: Eta | None = None,
    ) -> None:
        """Notes the settings; nothing is read yet.

        Args:
            candidates: pool file (see :mod:`erprm.data.pools`), or what to sample once.
            name: opens the names of the logged values; two callbacks in one trainer need two names.
            gold: file or hub id of problems with answers, for a pool file without them.
            gold_source: layout of ``gold``.
            kind: how candidates are graded: ``gsm8k`` (the final answer as a number), ``math`` (as an expression),
                ``auto`` (as the gold is written), the import path of a function of prediction and gold that returns a
                reward in [0, 1], or a ``class_path`` with ``init_args``.
            step_style: how candidates are split into steps: ``lines``, ``paragraphs``, ``numbered``,
                ``math_shepherd``, ``sentences``, ``regex:PATTERN``, ``auto``, or the import path of a function.
            aggregation: score of a solution from its steps: ``min``, ``prod``, ``mean``, ``last`` or
                ``sum_logits``.
            ns: numbers of candidates; by default the powers of two up to the candidates of the problem that has fewest
                (in the files of ``test``, every number up to that).
            limit: number of problems to use, from the start of the pool.
            every_n_epochs: epochs between evaluations in ``fit``.
            correct_threshold: reward from which a candidate counts as correct.
            baseline: folder that ``test`` wrote for another model on the same pool, to compare with.
            samples: number of problems, the first ones, of which the chosen solution is shown (and, if that is wrong,
                the best-scored right one).
            too_long: what becomes of candidates that are longer than the model's context: ``skip`` warns, and leaves
                them without a score, so they are chosen last and cast no vote; ``stop`` refuses the pool.
            cost_file: JSON file for what the scoring of the pool takes in ``test`` (see
                :class:`erprm.callbacks.run_cost.Cost`).
            vote_eta: eta of the entropic vote: 0 is majority vote, infinity best-of-n. By default one that fits the
                spread of the scores (:func:`erprm.metrics.default_eta`), at every evaluation anew.

        Raises:
            ValueError: if a number is below 1, ``vote_eta`` is negative or NaN, step style or aggregation is unknown,
                or ``correct_threshold`` is not in (0, 1].
        """
        super().__init__(name, limit=limit, every_n_epochs=every_n_epochs, samples=samples, too_long=too_long)
        if ns and min(ns) < 1:
            raise ValueError(f"ns is {min(ns)}; it must be at least 1")
        check_step_style(step_style, "step_style")
        aggregator(aggregation)
        if not 0.0 < correct_threshold <= 1.0:
            raise ValueError(f"correct_threshold is {correct_threshold}; it must be above 0 and at most 1")
        self.vote_eta = None if vote_eta is None else read_eta(vote_eta, "vote_eta")
        if self.vote_eta is not None and self.vote_eta < 0.0:
            raise ValueError(f"vote_eta is {vote_eta}; it must be at least 0 (0 is majority vote, inf is best-of-n)")
        self.candidates = candidates
        self.gold = gold
        self.gold_source = gold_source
        self.kind = kind
        self.correct_threshold = correct_threshold
        self.step_style = step_style
        self.aggregation: Aggregation = aggregation
        self.ns = ns
        self._given_ns = ns
        self.baseline = baseline
        self.cost_file = cost_file
        self.results: dict[str, Curve] = {}
        self.peak: dict[str, int] | None = None
        self._pool: list[PoolProblem] = []
        self._baseline_scores: list[Tensor] | None = None
        self._graded: GradedPool | None = None
        self._pool_results: dict[str, Curve] = {}
        self._unreadable: set[int] | None = None
        self._cost: Cost | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Reads, or samples, and grades the pool, before training starts.

        Raises:
            TypeError: if the module has no ``score_steps``.
            FileNotFoundError: if a file does not exist.
            PoolError: if the pool cannot be graded.
            GradingError: if ``kind`` names no grader.
            ValueError: if another callback has the same name, ``ns`` asks for more candidates than there are, or the
                baseline is of another pool.
        """
        super().setup(trainer, pl_module, stage)
        check_grading(self.kind, f"{self.name}: kind")
        self._unreadable = None  # Another module may read others.
        if self._graded is None and stage != "predict":
            self._load()

    def _load(self) -> None:
        path = self._pool_file()
        gold = None if self.gold is None else load_problems(self.gold_source, self.gold)
        pool = read_pool(path, gold)[: self.limit]
        smallest = min(len(entry.candidates) for entry in pool)
        self.ns = self.ns or powers_of_two(smallest)
        if max(self.ns) > smallest:
            raise ValueError(
                f"{self.name}: ns asks for {max(self.ns)} candidates, but a problem of {path} has only {smallest}"
            )
        graded = grade_pool(pool, self.kind, self.step_style, correct_threshold=self.correct_threshold)
        if any(graded.cut_off):
            unanswered = sum(cut and answer is None for cut, answer in zip(graded.cut_off, graded.answers, strict=True))
            log.warning(
                "%s: %d of %d candidates were cut off at the limit of tokens, %d of them without an answer",
                self.name,
                sum(graded.cut_off),
                len(graded.cut_off),
                unanswered,
            )
        self._pool_results = pool_curves(graded, self.ns)
        if self.baseline is not None:
            self._baseline_scores = read_step_scores(Path(self.baseline), pool_fingerprint(pool))
        self._pool, self._graded = pool, graded

    def _pool_file(self) -> Path:
        if isinstance(self.candidates, PoolSampling):
            return cached_pool(self.candidates, default_cache_dir())
        return Path(self.candidates)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks before training for candidates that the module cannot read.

        Raises:
            ValueError: if there is one, and ``too_long`` is ``stop``.
        """
        assert self._graded is not None, "setup has not been called"
        self._find_unreadable(pl_module, self._graded)

    def _find_unreadable(self, module: L.LightningModule, pool: GradedPool) -> set[int]:
        """Candidates that are too long for the module, by their place among all."""
        if self._unreadable is None:
            places = [place for place, solution in enumerate(pool.solutions) if solution.steps]
            problem_and_number = pool.valid_PN.nonzero().tolist()

            def name_of(number: int) -> str:
                problem, candidate = problem_and_number[places[number]]
                return f"candidate {candidate} of problem {pool.problem_ids[problem]!r}"

            solutions = [pool.solutions[place] for place in places]
            consequence = "they have no score, so they are chosen last and cast no vote"
            found = self.find_too_long(module, solutions, name_of=name_of, consequence=consequence)
            self._unreadable = {places[number] for number in found}
        return self._unreadable

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates, and writes all that the scores say."""
        step_scores = self.evaluate(trainer, pl_module)
        if self.cost_file is not None and trainer.is_global_zero:
            assert self._cost is not None
            write_finite_json(asdict(self._cost), Path(self.cost_file))
        model, folder = model_identity(pl_module), self.log_folder(trainer)  # The first takes all processes.
        if folder is None:
            return
        assert self._graded is not None
        results = {
            "name": self.name,
            "determined_by": {
                "model": model,
                "pool": {"file": str(self._pool_file()), "sha256": pool_fingerprint(self._pool), "limit": self.limit},
                "kind": self.kind if isinstance(self.kind, str | dict) else repr(self.kind),
                "correct_threshold": self.correct_threshold,
                "step_style": self.step_style,
                "aggregation": self.aggregation,
                "too_long": self.too_long,
                "precision": str(trainer.precision),
                "baseline": self.baseline,
                "versions": versions(),
            },
            **pool_results(
                self._pool,
                self._graded,
                step_scores,
                self.aggregation,
                self._given_ns,
                self._baseline_scores,
                self.vote_eta,
            ),
        }
        self.peak = (results["reward_hacking"] or {}).get("extrapolated_peak")
        folder /= self.file_name
        if votes := results["entropic_vote"]:
            title = f"{self.name}: vote by {self.aggregation} of step scores"
            log_figure(
                trainer, f"{self.name}/entropic_vote", lambda: vote_figure(votes, title), folder / "entropic_vote.png"
            )
        # Last, since whoever finds these results takes the evaluation for done.
        write_pool_results(folder, results, self._pool, self._graded, step_scores)
        log.info("%s: %s", self.name, folder)

    def evaluate(self, trainer: L.Trainer, module: L.LightningModule) -> list[Tensor]:
        """Scores the candidates, logs and shows; the scores of their steps."""
        pool, ns = self._graded, self.ns
        assert pool is not None, "setup has not been called"
        assert ns is not None
        stopwatch = Stopwatch()
        step_scores = self.score_candidates(trainer, module, pool)
        self._cost = stopwatch.read()
        scores_PN = aggregate_pool(step_scores, pool.valid_PN, self.aggregation)
        of_scores = score_curves(pool, scores_PN, ns, self.vote_eta)
        self.results = {**of_scores, **self._pool_results}
        values = {
            f"{method}@{n}": mean
            for method, curve in self.results.items()
            for n, mean in zip(curve.n, curve.mean, strict=True)
        }
        self.log_values(module, values)
        if (folder := self.log_folder(trainer)) is not None:
            self._write(folder, trainer)
            title = f"{self.name}: {self.aggregation} of step scores"
            chosen = pool_samples(self._pool, pool, step_scores, scores_PN, self.samples)
            self.show(trainer, folder, "best_of_n", lambda: curves_figure(of_scores, self._pool_results, title), chosen)
        return step_scores

    def score_candidates(self, trainer: L.Trainer, module: L.LightningModule, pool: GradedPool) -> list[Tensor]:
        """Step scores of every candidate, problem after problem; empty where it has no step or is too long.

        Candidates that are the same text are scored once. All processes of the trainer call this at the same time.

        Raises:
            ValueError: if the module returns not one score for each step, or NaN for one; or if a candidate is too
                long, and ``too_long`` is ``stop``.
        """
        unreadable = self._find_unreadable(module, pool)
        texts = [
            None if place in unreadable or not solution.steps else (solution.question, tuple(solution.steps))
            for place, solution in enumerate(pool.solutions)
        ]
        distinct = {text: place for place, text in enumerate(dict.fromkeys(text for text in texts if text))}
        scores = self.score(trainer, module, [Solution(*text) for text in distinct])
        return [torch.empty(0) if text is None else scores[distinct[text]] for text in texts]

    def _write(self, folder: Path, trainer: L.Trainer) -> None:
        content = {
            "name": self.name,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "aggregation": self.aggregation,
            "problems": len(self._pool),
            "curves": {method: asdict(curve) for method, curve in self.results.items()},
        }
        write_finite_json(content, self.step_file(folder, trainer, ".json"))
