"""The estimate of a rollout run, as tables and as a file of numbers."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from erprm.data.sources import ProblemSource
from erprm.engines.registry import open_engine
from erprm.estimate.config import RolloutEstimateConfig
from erprm.estimate.rollout import LEVEL, Expected, RolloutEstimate, estimate_rollouts
from erprm.grading import open_grader
from erprm.report.tables import Table
from erprm.runs.atomic import write_json
from erprm.runs.lock import sole_writer

GB = 1e9
_HEADER = ("", "expected", f"{LEVEL:.0%} from", "to")


def estimate_from(config: RolloutEstimateConfig) -> RolloutEstimate:
    """The estimate of a run, from a probe of its problems."""
    problems = ProblemSource(config.source, config.path, config.split, config.limit)
    with closing(open_engine(config, config.prompt)) as engine, open_grader(config.grading, "grading") as grader:
        return estimate_rollouts(problems, engine, grader, config, config.probe, config.probe_seed)


def print_estimate(estimate: RolloutEstimate, config: RolloutEstimateConfig, console: Console) -> None:
    """Prints the estimate as tables, and writes its numbers to ``config.json`` if that is set."""
    device_hours = _device_hours(estimate, config)
    for table in (_probe_table(estimate), _work_table(estimate), _cost_table(estimate, device_hours, config)):
        console.print(table.rich())
    if config.json is not None:
        numbers = {**estimate.to_dict(), **{name: asdict(expected) for name, expected in device_hours.items()}}
        with sole_writer(Path(config.json)):
            write_json(numbers, Path(config.json))
        console.print(f"numbers written to {config.json}")


def _device_hours(estimate: RolloutEstimate, config: RolloutEstimateConfig) -> dict[str, Expected]:
    """Time of the run on the devices of the settings, as far as they are given."""
    if config.tokens_per_second is None:
        return {}
    device_hours = estimate.completion_tokens.times(1 / config.tokens_per_second / 3600)
    costs = {} if config.price is None else {"cost": device_hours.times(config.price)}
    return {"device_hours": device_hours, "hours": device_hours.times(1 / config.devices), **costs}


def _probe_table(estimate: RolloutEstimate) -> Table:
    probe = estimate.probe
    rows = [
        ("problems rolled out", f"{probe.problems:,}"),
        ("pass@1", f"{probe.pass_at_1:.1%}"),
        ("solutions cut off at max_tokens", f"{probe.truncated_solutions / probe.solutions:.1%}"),
        ("seconds", f"{probe.seconds:,.1f}"),
        ("tokens generated a second", f"{estimate.tokens_per_second:,.0f}"),
    ]
    if estimate.first_failure is not None:
        rows.append(("a problem that fails", estimate.first_failure))
    return Table("The probe", [], rows)


def _work_table(estimate: RolloutEstimate) -> Table:
    rows: list[tuple[str, Expected]] = [
        ("problems that fail", estimate.failing),
        ("solutions", estimate.solutions),
        ("  with a step: records", estimate.records),
        ("steps", estimate.steps),
        ("distinct step prefixes", estimate.prefixes),
        ("completions", estimate.completions),
        ("tokens generated", estimate.completion_tokens),
        ("  of solutions", estimate.solution_tokens),
        ("tokens read", estimate.prompt_tokens),
    ]
    cells = [[name, *(f"{value:,.0f}" for value in asdict(expected).values())] for name, expected in rows]
    return Table(f"All {estimate.problems:,} problems", _HEADER, cells)


def _cost_table(estimate: RolloutEstimate, device_hours: dict[str, Expected], config: RolloutEstimateConfig) -> Table:
    name_of = {
        "device_hours": f"device-hours at {config.tokens_per_second or 0:,g} tokens/s",
        "hours": f"hours on {config.devices:,} device(s)",
        "cost": f"cost at {config.price or 0:,g} a device-hour",
    }
    rows: list[tuple[str, Expected]] = [
        ("GB on disk", estimate.storage_bytes.times(1 / GB)),
        ("hours at the speed of the probe", estimate.hours_here),
        *((name_of[key], expected) for key, expected in device_hours.items()),
    ]
    cells = [
        [name, *(f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in asdict(expected).values())]
        for name, expected in rows
    ]
    return Table(f"{estimate.shards:,} shard(s) of {config.problems_per_shard:,} problems", _HEADER, cells)
