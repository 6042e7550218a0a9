"""The settings of a rollout run."""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from erprm.engines.base import Sampling
from erprm.engines.prompts import PromptFormat
from erprm.engines.registry import engine_content
from erprm.engines.settings import EngineSettings
from erprm.grading import KINDS, Kind, check_grading
from erprm.inherited_help import inherits_help
from erprm.runs.identity import setting_text
from erprm.steps import check_step_style

__all__ = ["RolloutConfig"]


@dataclass(frozen=True)
class Part:
    """One of several parts of a run, of about equal size: the jobs of an array share its shards out.

    ``2/8`` makes the shards 2, 10, 18, ...

    Attributes:
        index: number of the part, from 0.
        count: how many parts there are.
    """

    index: int = 0
    count: int = 1

    def shards(self, num_shards: int) -> range:
        """The shards of this part."""
        return range(self.index, num_shards, self.count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_part(text: str | None) -> Part:
    """Reads ``i/n``; ``slurm`` is the place of this job in its SLURM array, None the whole run.

    Raises:
        ValueError: if it is neither, or there is no array, or one with gaps.
    """
    if text is None:
        return Part()
    if text == "slurm":
        return _slurm_part()
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(
            f"shard is {text!r}; expected i/n with i from 0 to n-1, such as 0/3, 1/3 and 2/3 for three parts, or slurm"
        )
    return Part(int(match[1]), int(match[2]))


def _slurm_part() -> Part:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]
    values = {name: os.environ.get(name, "") for name in names}
    if not all(value.isdecimal() for value in values.values()):
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        raise ValueError(
            f"shard is 'slurm', but this is not a job of a SLURM array ({shown}); expected sbatch --array=0-7"
        )
    task, first, last, count = map(int, values.values())
    if count == 1:
        raise ValueError(
            f"shard is 'slurm', but task {task} is the only one of its array; to make one part again, say which of "
            f"how many it is, such as --shard {task}/8; for the whole run, leave it out"
        )
    if last - first + 1 != count:
        raise ValueError(
            f"shard is 'slurm', but the array has {count} tasks from {first} to {last}: there are gaps; give an array "
            "such as 0-7, or say which part each task makes: --shard i/n"
        )
    return Part(task - first, count)


@inherits_help
@dataclass
class RolloutConfig(EngineSettings):
    """Settings of a rollout run: the samples to draw, the policy, and the output folder.

    Attributes:
        output_dir: folder of the run; the same settings again continue a run that was interrupted.
        source: where problems come from.
        path: file or hub id of the problems; by default the source's own hub id.
        split: split of the problems.
        limit: at most this many problems.
        prompt: how a question becomes a prompt.
        style: how the steps of a solution are separated: ``lines``, ``paragraphs``, ``numbered``, ``math_shepherd``,
            ``sentences``, ``regex:PATTERN``, ``auto``, or the import path of a function.
        solutions_per_problem: solutions sampled for each problem.
        completions_per_step: K, completions of each distinct step prefix.
        reuse_solutions: count solutions among the K completions of their own prefixes, where they are sampled alike.
        enough_successes: stop completing a prefix once this many of its completions are correct; at K by default.
        bisection: complete only the prefixes that are needed to find the first wrong step of each wrong solution by
            bisection; for ``hard`` labels.
        temperature: temperature of the solutions.
        completion_temperature: temperature of the completions; that of the solutions by default.
        top_p: mass of most likely tokens to sample from.
        max_tokens: the most tokens of a solution, and of a completion.
        stop: strings that end a solution.
        seed: seed of the run.
        grading: how outcomes are rewarded: ``gsm8k`` (the final answer as a number), ``math`` (as an expression),
            ``auto`` (the source's own way), the import path of a function of prediction and gold that returns a reward
            in [0, 1], or a ``class_path`` with ``init_args``.
        correct_threshold: reward from which an outcome counts as correct.
        problems_per_shard: problems of one Parquet shard: what a kill can cost.
        executor: who makes the shards: ``local``, this process, or ``ray``, the actors of a Ray cluster.
        actors: with ``ray``, how many actors, each with an engine of its own.
        gpus_per_actor: with ``ray``, GPUs of each actor; 1 where the cluster has any, else 0 by default.
        shard: make only a part of the run: ``i/n``, i from 0 to n-1, or ``slurm`` for the place of this job in its
            array. The parts may run at the same time and into the same folder.
        max_rejected_share: share of the problems that may fail; more of them stop the run.
        retry_rejected: try problems again that were rejected before, or had answers the grader gave up on.
    """

    output_dir: str
    source: Literal["gsm8k", "math", "jsonl"] = "gsm8k"
    path: str | None = None
    split: str = "train"
    limit: int | None = None
    prompt: PromptFormat = field(default_factory=PromptFormat)
    style: str = "lines"
    solutions_per_problem: int = 4
    completions_per_step: int = 8
    reuse_solutions: bool = True
    enough_successes: int | None = None
    bisection: bool = False
    temperature: float = 1.0
    completion_temperature: float | None = None
    top_p: float = 1.0
    max_tokens: int = 512
    stop: list[str] = field(default_factory=list)
    seed: int = 0
    grading: str | dict[str, Any] = "auto"
    correct_threshold: float = 0.5
    problems_per_shard: int = 32
    executor: Literal["local", "ray"] = "local"
    actors: int = 1
    gpus_per_actor: float | None = None
    shard: str | None = None
    max_rejected_share: float = 0.05
    retry_rejected: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("solutions_per_problem", "completions_per_step", "problems_per_shard", "actors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.enough_successes is not None:
            if not 2 <= self.enough_successes <= self.completions_per_step:
                raise ValueError(
                    f"enough_successes is {self.enough_successes}; it must be null, or 2 to completions_per_step "
                    f"({self.completions_per_step})"
                )
            if self.bisection:
                raise ValueError(
                    f"enough_successes is {self.enough_successes} with bisection; bisection asks for one success, so "
                    "leave enough_successes out"
                )
        check_step_style(self.style, "style")
        for count_key, temperature_key, temperature in (
            ("solutions_per_problem", "temperature", self.temperature),
            ("completions_per_step", "completion_temperature", self._completion_temperature),
        ):
            count = getattr(self, count_key)
            if not 0.0 <= temperature < math.inf:
                raise ValueError(f"{temperature_key} is {temperature}; it must be a finite number, at least 0")
            if temperature == 0.0 and count > 1:
                raise ValueError(
                    f"{temperature_key} is 0 with {count_key}={count}: greedy decoding gives {count} equal texts; set "
                    f"{temperature_key} above 0, or {count_key} to 1"
                )
        if not 0.0 < self.correct_threshold <= 1.0:
            raise ValueError(f"correct_threshold is {self.correct_threshold}; it must be above 0 and at most 1")
        if self.gpus_per_actor is not None and not 0.0 <= self.gpus_per_actor < math.inf:
            raise ValueError(f"gpus_per_actor is {self.gpus_per_actor}; it must be a finite number, at least 0")
        if not 0.0 <= self.max_rejected_share <= 1.0:
            raise ValueError(f"max_rejected_share is {self.max_rejected_share}; it must be in [0, 1]")
        check_grading(self.grading, "grading")
        # The remaining keys are checked by what they are handed to, before any problem or weight is loaded.
        _ = self.solution_sampling, self.completion_sampling, self.part

    @property
    def _completion_temperature(self) -> float:
        return self.temperature if self.completion_temperature is None else self.completion_temperature

    @property
    def solution_sampling(self) -> Sampling:
        """Sampling settings of solutions."""
        return self._sampling(self.solutions_per_problem, self.temperature)

    @property
    def completion_sampling(self) -> Sampling:
        """Sampling settings of the completions of step prefixes."""
        return self._sampling(self.completions_per_step, self._completion_temperature)

    @property
    def samples_alike(self) -> bool:
        """True if solutions and completions are sampled alike, so that one can stand for the other."""
        return self.temperature == self._completion_temperature > 0.0

    def _sampling(self, n: int, temperature: float) -> Sampling:
        return Sampling(n, temperature, self.top_p, self.max_tokens, tuple(self.stop), self.seed)

    @property
    def part(self) -> Part:
        """The part of the run to make."""
        return parse_part(self.shard)

    @property
    def grading_kind(self) -> Kind:
        """Settings for reading and comparing final answers, unless the user's own grader does it."""
        kind: Kind = next((kind for kind in KINDS if kind == self.grading), "auto")
        return self.source if kind == "auto" and self.source != "jsonl" else kind

    def content_settings(self) -> dict[str, Any]:
        """The settings that determine the records; the others only say where and how fast they are made."""
        elsewhere = {"output_dir", "path", "limit", "batch_size", "device", "vllm", "server", "shard"}
        elsewhere |= {"executor", "actors", "gpus_per_actor", "max_rejected_share", "retry_rejected"}
        settings = {key: value for key, value in asdict(self).items() if key not in elsewhere}
        settings |= engine_content(self)
        if isinstance(self.grading, dict):  # one value, so that an argument left out differs from one given
            settings["grading"] = setting_text(self.grading, "grading")
        return settings
