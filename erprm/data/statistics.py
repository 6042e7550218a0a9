"""Summary of step-labelled data: sizes, labels at several eta, duplicates, and overlap with other problem sets.

Records are taken in one after the other. What stays in memory is a 64-bit hash of each solution and problem, held in a
set, and counts.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.data.label_noise import LabelNoise, label_noise
from erprm.data.labels import flat_step_labels, flattened_rewards
from erprm.data.records import RolloutRecord

_LATEX_LAYOUT = re.compile(
    r"\\(?:left|right|bigl?|bigr?|displaystyle|textstyle|quad|qquad|text|mathrm|mbox|[,;:! ])|[${}~]", re.IGNORECASE
)
_FRACTION = re.compile(r"\\[dt]frac(?![a-z])")
_PUNCTUATION = re.compile(r"[\s\"'`‘’“”,;:?!]+|\.(?!\d)")


def normalized_problem(text: str) -> str:
    r"""The text that two settings of one problem share, however it is typeset.

    Two texts are the same problem if they agree once case, white space, quotation marks, punctuation at word ends, and
    the layout that LaTeX adds are out of the way: ``$\dfrac{1}{2}$ of 1,000?`` and ``\frac12 of 1000`` do. Signs of
    operations and decimal points count.

    >>> normalized_problem("What is $\\dfrac{1}{2}$ of 1,000?") == normalized_problem("what is \\frac12 of 1000")
    True
    >>> normalized_problem("3 - 4") == normalized_problem("3 + 4")
    False
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _FRACTION.sub(r"\\frac", text)
    return _PUNCTUATION.sub("", _LATEX_LAYOUT.sub("", text))


def fingerprint(text: str) -> int:
    """64 bits of a hash: among a million texts, two that differ agree with a probability of 3 in 100 million."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big")


LABEL_BINS = 20
_BATCH = 1024
_EXAMPLES = 3

TokenCounter = Callable[[list[str]], list[int]]


@dataclass
class LabelHistogram:
    """Distribution of the labels of all steps at one eta.

    Attributes:
        zeros: labels that are 0.
        ones: labels that are 1.
        between: labels in (0, 1), in bins of equal width; a bin has its lower bound in it.
        total: sum of the labels.
    """

    zeros: int = 0
    ones: int = 0
    between: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(LABEL_BINS, dtype=np.int64))
    total: float = 0.0

    def add(self, labels: npt.NDArray[np.float32]) -> None:
        """Counts labels; NaN is none."""
        labels = labels[~np.isnan(labels)]
        inner = labels[(labels > 0) & (labels < 1)]
        self.zeros += int((labels == 0).sum())
        self.ones += int((labels == 1).sum())
        self.between += np.histogram(inner, bins=LABEL_BINS, range=(0, 1))[0]
        self.total += float(labels.sum(dtype=np.float64))

    @property
    def count(self) -> int:
        """Number of labels."""
        return self.zeros + self.ones + int(self.between.sum())

    @property
    def mean(self) -> float:
        """The mean label; NaN if there is none."""
        return self.total / self.count if self.count else math.nan


@dataclass
class Overlap:
    """Problems of a data set that are in a benchmark, too.

    Attributes:
        of: problems of the benchmark.
        problems: how many of them are in the data.
        solutions: solutions to these.
        examples: some of the questions.
    """

    of: int
    problems: int = 0
    solutions: int = 0
    examples: list[str] = field(default_factory=list)


class DataStatistics:
    """The statistics of one data set.

    Attributes:
        name: what it is called in tables.
        solutions: how many solutions there are.
        correct: how many of them are right.
        duplicates: how many have the question and the steps of an earlier one.
        steps: steps of a solution -> how many solutions have so many.
        lengths: for each unit (``characters``, ``words``, and ``tokens`` where they are counted): length of question
            and steps -> how many solutions are so long.
        completions: rewards of a step -> how many steps have so many; last steps, which have one outcome, left out.
            Steps without rewards, which bisection leaves, have no labels but at eta = inf.
        outcomes: rewards of a step, and how many of them are 1 -> how many steps have these; last steps and steps with
            rewards other than 0 and 1 left out.
        labels: eta -> the labels of all steps.
        benchmarks: name -> what of it is in the data.
    """

    def __init__(
        self,
        name: str,
        etas: Sequence[float],
        benchmarks: Mapping[str, set[int]] | None = None,
        count_tokens: TokenCounter | None = None,
    ) -> None:
        """Starts with nothing counted.

        Args:
            name: what the data set is called in tables.
            etas: at which etas labels are counted.
            benchmarks: name -> :func:`problem_fingerprint` of its problems.
            count_tokens: gives the tokens of each of some texts.
        """
        self.name = name
        self.solutions = self.correct = self.duplicates = 0
        self.steps: Counter[int] = Counter()
        self.completions: Counter[int] = Counter()
        self.outcomes: Counter[tuple[int, int]] = Counter()
        self.lengths: dict[str, Counter[int]] = {unit: Counter() for unit in ("characters", "words")}
        if count_tokens is not None:
            self.lengths["tokens"] = Counter()
        self.labels = {eta: LabelHistogram() for eta in etas}
        self.benchmarks = {name: Overlap(of=len(problems)) for name, problems in (benchmarks or {}).items()}
        self._benchmark_problems = benchmarks or {}
        self._count_tokens = count_tokens
        self._problems: set[int] = set()
        self._solutions: set[int] = set()

    @property
    def problems(self) -> int:
        """Number of distinct problems, compared by their normalised text."""
        return len(self._problems)

    @property
    def label_noise(self) -> LabelNoise | None:
        """What the labels can teach at most; None if no step has two completions."""
        return label_noise(self.outcomes)

    def shared_problems(self, other: DataStatistics) -> int:
        """Number of problems found in both."""
        return len(self._problems & other._problems)

    def add(self, records: Iterable[RolloutRecord]) -> None:
        """Takes records in."""
        remaining = iter(records)
        while batch := list(islice(remaining, _BATCH)):
            self._add_sizes(batch)
            for record in batch:
                self._add_texts(record)
            rewards = flattened_rewards([record.rewards for record in batch])
            for eta, histogram in self.labels.items():
                histogram.add(flat_step_labels(*rewards, "er", eta))

    def _add_sizes(self, batch: Sequence[RolloutRecord]) -> None:
        texts = ["\n".join([record.question, *record.steps]) for record in batch]
        self.solutions += len(batch)
        self.correct += sum(record.correct for record in batch)
        self.steps.update(len(record.steps) for record in batch)
        completed = list(chain.from_iterable(record.rewards[:-1] for record in batch))
        self.completions.update(map(len, completed))
        self.outcomes.update((len(step), round(sum(step))) for step in completed if {0.0, 1.0}.issuperset(step))
        self.lengths["characters"].update(map(len, texts))
        self.lengths["words"].update(len(text.split()) for text in texts)
        if self._count_tokens is not None:
            self.lengths["tokens"].update(self._count_tokens(texts))

    def _add_texts(self, record: RolloutRecord) -> None:
        # Joined by a character that no step of text holds, so that other steps cannot give the same text.
        solution = fingerprint("\0".join([record.question, *record.steps]))
        self.duplicates += solution in self._solutions
        self._solutions.add(solution)
        problem = problem_fingerprint(record.question)
        for name, problems in self._benchmark_problems.items():
            if problem in problems:
                overlap = self.benchmarks[name]
                overlap.solutions += 1
                if problem not in self._problems:
                    overlap.problems += 1
                    overlap.examples += [record.question] if len(overlap.examples) < _EXAMPLES else []
        self._problems.add(problem)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for a JSON file."""
        return {
            "name": self.name,
            "solutions": self.solutions,
            "problems": self.problems,
            "correct": self.correct,
            "duplicates": self.duplicates,
            "steps": _described(self.steps),
            "completions": _described(self.completions),
            "label_noise": _plain(self.label_noise),
            "lengths": {unit: _described(counts) for unit, counts in self.lengths.items()},
            "labels": [
                {
                    "eta": eta if math.isfinite(eta) else str(eta),
                    "mean": histogram.mean if histogram.count else None,
                    "zeros": histogram.zeros,
                    "ones": histogram.ones,
                    "between": histogram.between.tolist(),
                }
                for eta, histogram in self.labels.items()
            ],
            "benchmarks": {name: vars(overlap) for name, overlap in self.benchmarks.items()},
        }


# Solutions to one problem mostly stand together.
@lru_cache(maxsize=4096)
def problem_fingerprint(question: str) -> int:
    """The fingerprint of a problem's normalised text."""
    return fingerprint(normalized_problem(question))


def shared_problems(data: Sequence[DataStatistics]) -> list[tuple[DataStatistics, DataStatistics, int]]:
    """For each two of some data sets, how many problems are in both."""
    return [(one, other, one.shared_problems(other)) for one, other in combinations(data, 2)]


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The smallest value that at least this share of all values does not exceed.

    Args:
        counts: value -> how often it is there; at least one.
        share: in (0, 1].

    >>> quantile({1: 3, 5: 1}, 0.75), quantile({1: 3, 5: 1}, 0.76)
    (1, 5)
    """
    wanted = share * sum(counts.values())
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            break
    return value


def mean(counts: Mapping[int, int]) -> float:
    """The mean of the values; value -> how often it is there."""
    return sum(value * count for value, count in counts.items()) / sum(counts.values())


def _plain(noise: LabelNoise | None) -> dict[str, Any] | None:
    if noise is None:
        return None
    return {name: None if math.isnan(value) else value for name, value in noise._asdict().items()}


def _described(counts: Mapping[int, int]) -> dict[str, Any]:
    if not counts:
        return {"count": 0}
    return {
        "count": sum(counts.values()),
        "mean": mean(counts),
        "min": min(counts),
        "median": quantile(counts, 0.5),
        "p90": quantile(counts, 0.9),
        "p99": quantile(counts, 0.99),
        "max": max(counts),
    }
