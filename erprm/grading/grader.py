"""Grading of whole solutions: extract, compare, and ask killable workers where algebra is needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any

from erprm.grading.answers.compare import equal_answers
from erprm.grading.answers.expressions import NeedsSymbolicError, Undecided
from erprm.grading.answers.numeric import parse_number
from erprm.grading.extract import Kind, check_kind, extract_answer, holds_count
from erprm.grading.workers.cache import VerdictCache
from erprm.grading.workers.pool import KilledPair, Pair, WorkerPool

_extract_gold = lru_cache(maxsize=65536)(extract_answer)
_UNDECIDED = Undecided()


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _extract_pair(
    prediction: str, gold: str, kind: Kind, truncated: bool = False
) -> tuple[Kind, str | None, str | None]:
    """Resolves `auto` by the gold, so that both sides are read the same way."""
    if kind == "auto":
        kind = "gsm8k" if holds_count(gold) else "math"
    return kind, _extract_gold(gold, kind), extract_answer(prediction, kind, truncated)


class Grader:
    r"""Grades answers in batches; safe in any thread and in any process, forked ones included.

    Numbers, structure, units and words are settled in this process without sympy. What needs algebra goes to worker
    processes, started when first needed, in which each pair has a time limit and each worker a memory limit. The
    caller's signals and alarms are left alone.

    Args:
        timeout_s: processor time for one pair, in seconds; a pair takes at most twice as much wall time.
        memory_mb: memory (address space) of one worker, in MiB; a worker takes about 70 before it is asked anything.
        workers: worker processes at most; by default one a core, 4 at most.
        cache_path: a file that remembers verdicts which took algebra; None keeps them only as long as this object
            lives.

    Raises:
        ValueError: an argument out of range, or `cache_path` is no cache file.

    Example:
        >>> with Grader() as grader:
        ...     grader.grade_batch([("The answer is $0.5$.", r"\frac{1}{2}"), ("#### 1,000", "#### 1000")])
        [True, True]
    """

    def __init__(
        self,
        timeout_s: float = 5.0,
        memory_mb: int = 1024,
        workers: int | None = None,
        cache_path: str | os.PathLike[str] | None = None,
    ) -> None:
        if not timeout_s > 0:
            raise ValueError(f"timeout_s: got {timeout_s!r}, expected seconds > 0")
        if memory_mb < 256:
            raise ValueError(f"memory_mb: got {memory_mb!r}, expected at least 256 (a worker takes about 70 to start)")
        if workers is not None and workers < 1:
            raise ValueError(f"workers: got {workers!r}, expected at least 1, or None for one a core")
        self.timeout_s = timeout_s
        self.memory_mb = memory_mb
        self.workers = workers or min(4, _available_cores())
        self._cache = VerdictCache(cache_path) if cache_path is not None else None
        self._killed: list[KilledPair] = []
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._at_work = False
        self._verdicts: dict[Pair, bool] = {}
        self._pool = WorkerPool(self.timeout_s, self.memory_mb, self.workers)
        self._pid = os.getpid()  # last: another thread of a forked process waits for nothing of its parent

    @property
    def killed(self) -> list[KilledPair]:
        """The pairs that cost a worker its life, in the order they did; each was graded False."""
        return [*self._killed, *self._pool.killed]

    def grade_batch(
        self,
        pairs: Sequence[tuple[str, str]],
        kind: Kind = "auto",
        truncated: Sequence[bool] | None = None,
    ) -> list[bool]:
        """Grades (prediction, gold) pairs.

        Args:
            pairs: texts; each may be a whole solution or a bare answer. A text without an answer grades False.
            kind: `"gsm8k"` (exact number), `"math"`, or `"auto"`: as GSM8K if the gold has a number after `####`,
                else as MATH.

            truncated: for each pair, whether the prediction was cut off at the limit of tokens; such a text has an
                answer only where it states one in a closed form.

        Returns:
            One verdict a pair, in order.

        Raises:
            ValueError: unknown `kind`, or not as many flags as pairs.
            TypeError: a pair that is not two strings.
            WorkerStartError: algebra is needed and no worker can be started.
        """
        check_kind(kind)
        if truncated is not None and len(truncated) != len(pairs):
            raise ValueError(f"truncated: got {len(truncated)} flags for {len(pairs)} pairs")
        results: list[bool] = [False] * len(pairs)
        undecided: dict[Pair, list[int]] = {}
        for index, pair in enumerate(pairs):
            if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], str):
                raise TypeError(f"pairs[{index}]: got {pair!r}, expected (prediction text, gold text)")
            resolved, gold, prediction = _extract_pair(pair[0], pair[1], kind, bool(truncated and truncated[index]))
            if gold is None or prediction is None:
                continue
            if resolved == "gsm8k":
                results[index] = _same_number(gold, prediction)
                continue
            try:
                results[index] = equal_answers(gold, prediction, _UNDECIDED)
            except NeedsSymbolicError:
                undecided.setdefault((gold, prediction), []).append(index)
        if undecided:
            for answers, equal in self._judge(list(undecided)).items():
                for index in undecided[answers]:
                    results[index] = equal
        return results

    def _judge(self, pairs: list[Pair]) -> dict[Pair, bool]:
        if os.getpid() != self._pid:  # forked: the workers and perhaps a held lock belong to the parent
            self._renew()
        with self._lock:
            if self._at_work:  # a signal handler that grades while the same thread does
                return self._judge_apart(pairs)
            self._at_work = True
            try:
                return self._judge_in_turn(pairs)
            finally:
                self._at_work = False

    def _judge_apart(self, pairs: list[Pair]) -> dict[Pair, bool]:
        pool = WorkerPool(self.timeout_s, self.memory_mb, 1)
        try:
            return pool.judge(pairs)
        finally:
            self._killed += pool.killed
            pool.close()

    def _judge_in_turn(self, pairs: list[Pair]) -> dict[Pair, bool]:
        known = {pair: self._verdicts[pair] for pair in pairs if pair in self._verdicts}
        if self._cache is not None:
            for pair in pairs:
                stored = None if pair in known else self._cache.get(*pair)
                if stored is not None:
                    known[pair] = stored
        missing = [pair for pair in pairs if pair not in known]
        if missing:
            killed_before = len(self._pool.killed)
            judged = self._pool.judge(missing)
            killed = {(entry.gold, entry.prediction) for entry in self._pool.killed[killed_before:]}
            if self._cache is not None:  # a time limit depends on the machine's load: such verdicts are not kept
                self._cache.put({pair: equal for pair, equal in judged.items() if pair not in killed})
            self._verdicts.update(judged)
            known.update(judged)
        return known

    def __call__(self, prediction: str, gold: str) -> float:
        """1.0 if `prediction` is right, else 0.0: a `Grader` is an `OutcomeGrader`."""
        return float(self.grade_batch([(prediction, gold)])[0])

    def close(self) -> None:
        """Ends the worker processes. The grader stays usable: the next batch that needs them starts new ones."""
        if os.getpid() == self._pid:
            with self._lock:
                self._pool.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Settings only, so that a grader can be sent to another process."""
        return {
            "timeout_s": self.timeout_s,
            "memory_mb": self.memory_mb,
            "workers": self.workers,
            "cache_path": self._cache.path if self._cache is not None else None,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _same_number(gold: str, prediction: str) -> bool:
    one, other = parse_number(gold), parse_number(prediction)
    return one is not None and other is not None and one.value == other.value


_default: Grader | None = None


def grade(prediction: str, gold: str, kind: Kind = "auto") -> bool:
    """True if `prediction` gives the answer of `gold`; either may be a whole solution or a bare answer.

    Uses one `Grader` of default settings for the whole process, so it cannot hang either. For many pairs
    `Grader.grade_batch` is faster.

    Raises:
        ValueError: unknown `kind`.
    """
    global _default
    if _default is None:
        _default = Grader(workers=1)
    return _default.grade_batch([(prediction, gold)], kind)[0]
