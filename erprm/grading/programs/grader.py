"""The grader of programs: the share of its unit tests that a program passes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

from erprm.errors import InputError
from erprm.grading.programs.sandbox import Isolation, Sandbox, SandboxError
from erprm.grading.programs.unit_tests import UnitTest, program_in, read_tests


@dataclass(frozen=True)
class ProgramGrader:
    r"""An outcome grader for programming: the share of the gold's unit tests that a solution's program passes.

    The gold holds one `assert CALL == LITERAL` a line. Each program runs in an interpreter and a sandbox of its own,
    which sends back what the calls return; the expected values do not enter it. `docs/grading.md` says what it holds.

    In a configuration: `grading: {class_path: erprm.grading.programs.ProgramGrader}`.

    Attributes:
        timeout_s: processor time of a program with all its tests, in seconds; it takes at most twice as much wall time.
        memory_mb: memory (address space) of a program, in MiB.
        workers: programs that run side by side; one a core by default.
        isolation: `"required"`: programs see neither files, nor processes, nor the network of this machine, and a
            machine that cannot hold them so is refused. `"limits"`: the same limits and no network, but **programs can
            read and write all files of this user**; only for programs that you would run yourself.

    Raises:
        ValueError: an argument out of range.
        SandboxError: this machine cannot isolate programs.

    Example:
        >>> grader = ProgramGrader(isolation="limits")
        >>> grader("```python\ndef double(x):\n    return x + x\n```", "assert double(2) == 4\nassert double(3) == 9")
        0.5
    """

    timeout_s: float = 5.0
    memory_mb: int = 256
    workers: int | None = None
    isolation: Isolation = "required"

    def __post_init__(self) -> None:
        if not 0.0 < self.timeout_s < float("inf"):
            raise ValueError(f"timeout_s is {self.timeout_s!r}; it must be a number of seconds above 0")
        if self.memory_mb < 64:
            raise ValueError(f"memory_mb is {self.memory_mb!r}; it must be at least 64 (an interpreter takes about 30)")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers is {self.workers!r}; it must be at least 1, or null for one a core")
        if self.isolation not in get_args(Isolation):
            raise ValueError(f"isolation is {self.isolation!r}; it must be one of {', '.join(get_args(Isolation))}")
        if sys.platform != "linux":
            raise SandboxError(f"programs are graded on Linux only; this is {sys.platform}")
        self._sandbox.answers("", [], 0)

    @property
    def _sandbox(self) -> Sandbox:
        return Sandbox(self.timeout_s, self.memory_mb, self.isolation)

    def __call__(self, prediction: str, gold: str) -> float:
        """The reward of one solution."""
        return self.grade_batch([(prediction, gold)])[0]

    def grade_batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The shares of tests passed, one a (solution, tests) pair; equal pairs are run once.

        Raises:
            InputError: a gold is no unit tests; the message names the pair and the line. Nothing was run.
            SandboxError: a sandbox cannot be entered.
        """
        tests = [_tests(gold, index) for index, (_, gold) in enumerate(pairs)]
        jobs = dict.fromkeys((program_in(text), of_pair) for (text, _), of_pair in zip(pairs, tests, strict=True))
        workers = min(self.workers or len(os.sched_getaffinity(0)), max(1, len(jobs)))
        with ThreadPoolExecutor(workers) as pool:
            try:
                shares = dict(zip(jobs, pool.map(lambda job: self._share(*job), jobs), strict=True))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        return [shares[program_in(text), of_pair] for (text, _), of_pair in zip(pairs, tests, strict=True)]

    def _share(self, program: str, tests: Sequence[UnitTest]) -> float:
        longest = max(len(test.expected) for test in tests)
        answers = self._sandbox.answers(program, [test.call for test in tests], longest)
        passed = sum(answer == test.expected for answer, test in zip(answers, tests, strict=True))
        return passed / len(tests)


def _tests(gold: str, index: int) -> tuple[UnitTest, ...]:
    try:
        return read_tests(gold)
    except InputError as error:
        raise InputError(f"gold of pair {index + 1}, {error}") from error
