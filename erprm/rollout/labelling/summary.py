"""Summary of a rollout run: its output and its cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from typing import Any

from rich.console import Group, RenderableType

from erprm.report.tables import Table


@dataclass(frozen=True)
class RolloutSummary:
    """Counts of a shard, or of a whole run.

    Attributes:
        problems: problems sampled from.
        solutions: solutions sampled.
        blank_solutions: of these, without any step; they give no record.
        truncated_solutions: of these, cut off by ``max_tokens`` or the context.
        correct_solutions: of these, rewarded with at least ``correct_threshold``.
        steps: steps of all records.
        prefixes: distinct step prefixes that were completed.
        completions: completions of prefixes.
        truncated_completions: of these, cut off by ``max_tokens`` or the context.
        steps_by_successes: at index s, how many completed steps had a share of about s / K correct completions
            (0 to K); where a step had K, that is s of them.
        prompt_tokens: tokens of prompts, each once however many completions it has.
        completion_tokens: tokens generated.
        seconds: time spent, over all interruptions.
        rejected_problems: problems that could not be rolled out; counted nowhere else.
        unanswered: solutions and completions that were cut off before they stated an answer; they count as wrong.
        ungraded_answers: answers that the grader had to give up on; they count as wrong.
        peak_bytes: the most memory that the process had held by then; of several shards or processes the largest. What
            an engine holds in processes of its own is not in it.
    """

    problems: int
    solutions: int
    blank_solutions: int
    truncated_solutions: int
    correct_solutions: int
    steps: int
    prefixes: int
    completions: int
    truncated_completions: int
    steps_by_successes: list[int]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    rejected_problems: int = 0
    unanswered: int = 0
    ungraded_answers: int = 0
    peak_bytes: int = 0

    @classmethod
    def nothing(cls) -> RolloutSummary:
        """The summary of no problems at all, to which others are added."""
        return cls(**{item.name: 0 for item in fields(cls) if item.name != "steps_by_successes"}, steps_by_successes=[])

    def __add__(self, other: RolloutSummary) -> RolloutSummary:
        sums = {
            item.name: getattr(self, item.name) + getattr(other, item.name)
            for item in fields(self)
            if item.name not in ("steps_by_successes", "peak_bytes")
        }
        peak_bytes = max(self.peak_bytes, other.peak_bytes)
        pairs = zip_longest(self.steps_by_successes, other.steps_by_successes, fillvalue=0)
        return RolloutSummary(
            **sums, peak_bytes=peak_bytes, steps_by_successes=[one + another for one, another in pairs]
        )

    @property
    def records(self) -> int:
        """Solutions that gave a record."""
        return self.solutions - self.blank_solutions

    @property
    def pass_at_1(self) -> float:
        """Share of the sampled solutions that are right; blank ones are wrong; 0 without solutions."""
        return self.correct_solutions / self.solutions if self.solutions else 0.0

    @property
    def steps_per_solution(self) -> float:
        """Mean number of steps of a record; 0 without records."""
        return self.steps / self.records if self.records else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts and ratios as JSON values."""
        return {
            **asdict(self),
            "records": self.records,
            "pass_at_1": self.pass_at_1,
            "steps_per_solution": self.steps_per_solution,
        }

    def render(self) -> RenderableType:
        """The summary as tables for a rich console."""
        counts = [
            ("problems", f"{self.problems:,}"),
            ("  rejected (rejected.jsonl)", f"{self.rejected_problems:,}"),
            ("solutions", f"{self.solutions:,}"),
            ("  blank, dropped", f"{self.blank_solutions:,}"),
            ("  cut off at max_tokens", f"{self.truncated_solutions:,}"),
            ("pass@1", f"{self.pass_at_1:.1%}"),
            ("steps per solution", f"{self.steps_per_solution:.2f}"),
            ("distinct step prefixes", f"{self.prefixes:,}"),
            ("completions", f"{self.completions:,}"),
            ("  cut off at max_tokens", f"{self.truncated_completions:,}"),
            ("cut off without an answer", f"{self.unanswered:,}"),
            ("answers not graded (ungraded.jsonl)", f"{self.ungraded_answers:,}"),
            ("tokens generated", f"{self.completion_tokens:,}"),
            ("tokens of prompts", f"{self.prompt_tokens:,}"),
            ("seconds", f"{self.seconds:,.1f}"),
            ("peak memory, MiB", f"{self.peak_bytes / 2**20:,.0f}"),
        ]
        total, completions = sum(self.steps_by_successes), len(self.steps_by_successes) - 1
        shares = [steps / total if total else 0.0 for steps in self.steps_by_successes]
        successes = [
            (f"{right}/{completions}", f"{share:.1%}", "█" * round(30 * share)) for right, share in enumerate(shares)
        ]
        histogram = Table("Completed steps by successes", ("right", "share", ""), successes, align="rrl")
        return Group(Table("Rollouts", (), counts).rich(), histogram.rich())
