"""Runs an ablation over eta: a model for each eta and seed, on the same rollouts and the same pool, compared."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from erprm.ablation.config import WORLD, AblateConfig, in_world
from erprm.ablation.report import ablation_markdown, ablation_tables, draw_ablation
from erprm.ablation.results import (
    Ablation,
    CostRow,
    LabelMethodScores,
    ablation_content,
    compare,
    cost_name,
    eta_in_json,
    histogram_in_json,
)
from erprm.ablation.runs import AblationFolder, Run, RunError, determining, resolved_fit
from erprm.ablation.worlds import costs_of_worlds, over_worlds
from erprm.callbacks.run_cost import Stopwatch
from erprm.data.datamodule import default_cache_dir
from erprm.data.labels import flat_step_labels, flattened_rewards
from erprm.data.pools import GradedPool, grade_pool, pool_fingerprint, read_pool
from erprm.data.records import read_records, records_fingerprint
from erprm.data.sources import load_problems
from erprm.data.statistics import LabelHistogram
from erprm.grading import check_grading
from erprm.report.candidates import read_step_scores
from erprm.report.page.run_folders import ABLATION_FILE
from erprm.rollout.pools import PoolSampling, cached_pool
from erprm.runs.atomic import remove_leftovers, write_finite_json, write_text
from erprm.runs.folder import RunFolder
from erprm.runs.identity import model_key
from erprm.runs.lock import sole_use

_RECORDS_AT_ONCE = 1024


def ablate(config: AblateConfig, of_fit: Sequence[str], console: Console) -> None:
    """Makes what is missing of an ablation, and writes what all of it says.

    Args:
        config: what to compare.
        of_fit: arguments of ``erprm fit`` beside ``config.fit``.
        console: where progress and tables go.

    Raises:
        ValueError: if the folder holds another ablation, something cannot be read, or there are to be several worlds
            and nothing in the settings, or in what they name, tells them apart.
        RunError: if a run fails.
    """
    check_grading(config.kind, "kind")
    resolved = resolved_fit(["--config", config.fit, *of_fit])
    if config.worlds == 1:
        _of_world(config, resolved, 0, console).run()
    else:
        _ablate_worlds(config, resolved, console)


def _of_world(config: AblateConfig, resolved: Mapping[str, Any], world: int, console: Console) -> _Ablation:
    return _Ablation(config.of_world(world), in_world(resolved, world), console)


def _ablate_worlds(config: AblateConfig, resolved: Mapping[str, Any], console: Console) -> None:
    """Makes what is missing of the ablation of each world, and writes what all of them say."""
    read = (resolved, config.pool)
    if in_world(read, 0) == read:
        raise ValueError(
            f"worlds is {config.worlds}, but {WORLD} is neither in fit nor in pool; each world needs what it reads in "
            f"a place of its own, such as --fit.data.rollouts 'worlds/{WORLD}/rollouts', or worlds has to be 1"
        )
    folder = RunFolder(Path(config.output_dir), "an ablation over worlds")
    settings = {**determining(resolved, config.best_of_n(Path()), {}), "worlds": f"one in each world-{WORLD}"}
    with sole_use(folder.path):
        folder.refuse_other_settings(settings)
        # Before anything is trained, all worlds are read.
        ablations = [_of_world(config, resolved, world, console) for world in range(config.worlds)]
        _refuse_equal_worlds([ablation.content_hashes for ablation in ablations])
        folder.write_manifest(settings)
        remove_leftovers(folder.path)
        results: dict[int, _Result] = {}
        for world, ablation in enumerate(ablations):
            console.print(f"world {world} of {config.worlds}", style="bold", highlight=False)
            try:
                results[world] = ablation.run()
            except RunError as error:
                if not any(run.is_done for each in ablations for run in each.runs):
                    raise
                console.print(str(error), style="red", markup=False)
        if len(results) > 1:
            _result_of_worlds(results, folder.path).write(range(config.seeds), list(results), console)
    if failed := [world for world in range(config.worlds) if world not in results]:
        without = f"; nothing is said about the worlds {failed}" if len(results) > 1 else ""
        raise RunError(
            f"runs of {len(failed)} of {config.worlds} worlds failed{without}; the same command tries them again"
        )


def _refuse_equal_worlds(contents: Sequence[Mapping[str, str | None]]) -> None:
    """Refuses worlds that read the same rollouts, backbone and pool: they would count as independent evidence."""
    for world, content in enumerate(contents):
        if (first := contents.index(content)) != world:
            raise ValueError(
                f"the worlds {first} and {world} read the same content ({', '.join(content)}), if under different "
                f"names; an interval over worlds needs worlds that were made independently"
            )


def _result_of_worlds(results: Mapping[int, _Result], folder: Path) -> _Result:
    rows = [
        {**row, "world": world, "results": f"{result.folder.name}/{row['results']}"}
        for world, result in results.items()
        for row in result.rows
    ]
    worlds = list(results.values())
    return _Result(
        folder,
        over_worlds([each.ablation for each in worlds]),
        rows,
        [],
        costs_of_worlds([each.costs for each in worlds]),
        f"Means over the worlds {', '.join(map(str, results))}",
    )


@dataclass(frozen=True)
class _Result:
    """What the models of an ablation say.

    Attributes:
        folder: where it is to be written.
        ablation: the comparison.
        rows: the runs, as in ``ablation.json``.
        histograms: of the labels, likewise; of several worlds none.
        costs: those of all stages.
        subject: what was compared on, for the reader.
    """

    folder: Path
    ablation: Ablation
    rows: Sequence[Mapping[str, Any]]
    histograms: Sequence[Mapping[str, Any]]
    costs: Sequence[CostRow]
    subject: str

    def write(self, seeds: Sequence[int], worlds: Sequence[int], console: Console) -> None:
        """Writes all files and shows the tables; ``worlds`` are those of several."""
        content = ablation_content(self.ablation, self.rows, self.histograms, self.costs, seeds, worlds)
        write_finite_json(content, self.folder / ABLATION_FILE)
        introduction = (
            f"{self.subject}, seeds {', '.join(map(str, seeds))}. "
            f"Intervals are 95%, over {self.ablation.intervals_over}.\n"
        )
        write_text(ablation_markdown(self.ablation, self.costs, introduction), self.folder / "ablation.md")
        for table in ablation_tables(self.ablation, self.costs):
            console.print(table.rich())
        try:
            draw_ablation(self.ablation, self.histograms, self.folder)
        except ImportError as error:
            console.print(f"no figures: {error}")
        console.print(f"everything is in {self.folder}", highlight=False)


class _Ablation:
    """The ablation of one world."""

    def __init__(self, config: AblateConfig, resolved: Mapping[str, Any], console: Console) -> None:
        """Finds out, before anything is trained, whether all can be read."""
        self.config = config
        self.console = console
        self.pool_file = _pool_file(config.pool)
        self.graded, self.pool_sha256 = self._graded_pool()
        self.resolved = resolved
        self.content_hashes = self._content_hashes()
        self.folder = AblationFolder(
            Path(config.output_dir), self.resolved, config.best_of_n(self.pool_file), self.content_hashes
        )

    @property
    def runs(self) -> list[Run]:
        """All that there are to be."""
        return self.folder.runs(self.config.methods, self.config.seeds)

    def run(self) -> _Result:
        """Trains and evaluates, then writes.

        Raises:
            RunError: if a run failed; what there is to say without its seed is written.
        """
        with self.folder:
            runs = self.runs
            failed = self._make(runs)
            seeds = [seed for seed in range(self.config.seeds) if all(r.is_done for r in runs if r.seed == seed)]
            if seeds:
                result = self._result([run for run in runs if run.seed in seeds])
                result.write(seeds, (), self.console)
        if failed:
            without = f"; nothing is said about the seeds {sorted({run.seed for run in failed})}" if seeds else ""
            raise RunError(f"{len(failed)} of {len(runs)} runs failed{without}; the same command tries them again")
        return result

    def _make(self, runs: Sequence[Run]) -> list[Run]:
        """Makes the runs that are not done; returns those that failed, if any did not."""
        failed: list[Run] = []
        for number, run in enumerate(runs, 1):
            started = time.perf_counter()
            try:
                with self.console.status(f"{number}/{len(runs)} {run.name}; its logs are in {run.folder}"):
                    was_missing = self.folder.make(run)
            except RunError as error:
                if not any(each.is_done for each in runs):
                    raise  # What does not do for the first is likely to do for none.
                self.console.print(str(error), style="red", markup=False)
                failed.append(run)
                continue
            took = f"{time.perf_counter() - started:.0f} s" if was_missing else "found"
            self.console.print(f"{number}/{len(runs)} {run.name}: {took}", highlight=False)
        return failed

    def _graded_pool(self) -> tuple[GradedPool, str]:
        config = self.config
        gold = None if config.gold is None else load_problems(config.gold_source, config.gold)
        pool = read_pool(self.pool_file, gold)[: config.limit]
        return grade_pool(pool, config.kind, config.step_style), pool_fingerprint(pool)

    def _content_hashes(self) -> dict[str, str | None]:
        data, model = self.resolved["data"]["init_args"], self.resolved["model"]["init_args"]
        hashes: dict[str, str | None] = {
            f"data.{name}": records_fingerprint(data[name])
            for name in ("rollouts", "validation_rollouts")
            if data.get(name) is not None
        }
        hashes["model.backbone"] = model_key(model["backbone"], model.get("gguf_file"))
        return {**hashes, "pool": self.pool_sha256}

    def _result(self, runs: Sequence[Run]) -> _Result:
        methods = [
            LabelMethodScores(
                method.name,
                method.eta,
                [read_step_scores(run.results.parent, self.pool_sha256) for run in runs if run.method == method],
            )
            for method in self.config.methods
        ]
        ablation = compare(methods, self.graded, self.config.aggregation, votes=True)
        histograms, labelling = self._labels()
        costs = [*labelling, *_run_costs(runs)]
        folder = self.folder.path
        rows = [
            {
                "name": run.method.name,
                "labels": run.method.labels,
                "eta": eta_in_json(run.method.eta),
                "seed": run.seed,
                "results": str(run.results.relative_to(folder)),
            }
            for run in runs
        ]
        subject = f"{len(self.graded.problem_ids)} problems"
        return _Result(folder, ablation, rows, histograms, costs, subject)

    def _labels(self) -> tuple[list[dict[str, Any]], list[CostRow]]:
        """Distributions of the labels, and the cost of making them from the rewards and of the rewards themselves."""
        data = self.resolved["data"]
        source = data["init_args"].get("rollouts")
        if source is None or data["class_path"] not in _READERS_OF_RECORDS:
            self.console.print(f"no label histograms: {data['class_path']} reads its records in its own way")
            return [], []
        methods = self.config.methods
        histograms, seconds = [LabelHistogram() for _ in methods], [0.0 for _ in methods]
        cpu_seconds = list(seconds)
        records = iter(read_records(source))
        while batch := list(islice(records, _RECORDS_AT_ONCE)):
            rewards = flattened_rewards([record.rewards for record in batch])
            for number, method in enumerate(methods):
                stopwatch = Stopwatch()
                labels = flat_step_labels(*rewards, method.labels, method.eta or 0.0)
                cost = stopwatch.read()
                histograms[number].add(labels)
                seconds[number] += cost.seconds
                cpu_seconds[number] += cost.cpu_seconds
        described = [
            histogram_in_json(method.name, method.eta, histogram)
            for method, histogram in zip(methods, histograms, strict=True)
        ]
        from_rewards = [
            CostRow(cost_name(method.eta), "labelling", [each], [cpu], [None], [None])
            for method, each, cpu in zip(methods, seconds, cpu_seconds, strict=True)
        ]
        return described, [*_rollout_costs(Path(source)), *from_rewards]


_READERS_OF_RECORDS = ("erprm.data.ProcessRewardDataModule", "erprm.data.datamodule.ProcessRewardDataModule")


def _pool_file(pool: str | PoolSampling) -> Path:
    return cached_pool(pool, default_cache_dir()) if isinstance(pool, PoolSampling) else Path(pool)


def _rollout_costs(rollouts: Path) -> list[CostRow]:
    """Cost of the rollouts, if ``erprm rollout`` made them: one number for all ways and seeds."""
    summary = rollouts / "summary.json"
    if not summary.is_file():
        return []
    content: Mapping[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return [CostRow("rollouts", "labelling", [content["seconds"]], [None], [content.get("peak_bytes")], [None])]


def _run_costs(runs: Sequence[Run]) -> list[CostRow]:
    rows = []
    for stage in ("training", "scoring"):
        for method in dict.fromkeys(run.method for run in runs):
            costs = [asdict(run.cost(stage)) for run in runs if run.method == method]
            columns = {name: [cost[name] for cost in costs] for name in costs[0]}
            rows.append(CostRow(cost_name(method.eta), stage, **columns))
    return rows
