"""Worker processes that judge pairs of answers and can be killed: time limit, memory limit, crash.

Plain `subprocess` with a line protocol (see `erprm.grading.worker`), not `multiprocessing`: daemonic processes such
as DataLoader workers may have no multiprocessing children, and a forked child would inherit torch, threads and locks.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from typing import Literal, NamedTuple

Pair = tuple[str, str]  # gold answer, predicted answer

# The worker's own timer fires first; the parent's deadline is for a worker that cannot be reached by it.
GRACE_S = 1.0
START_UP_S = 300.0


class KilledPair(NamedTuple):
    """A pair whose worker had to end.

    Attributes:
        prediction: the extracted prediction.
        gold: the extracted gold.
        reason: `"time"`, `"memory"` or `"crash"`.
    """

    prediction: str
    gold: str
    reason: Literal["time", "memory", "crash"]


class WorkerStartError(RuntimeError):
    """A grading worker did not come up; the message says why and what to install."""


class _Worker:
    """One process, and the pair it is at work on."""

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(entry for entry in sys.path if entry), PYTHONUTF8="1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "erprm.grading.worker", str(timeout_s), str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        )
        self.pair: Pair | None = None
        self.ready = False
        self.served = 0
        self.deadline = time.monotonic() + START_UP_S
        self._timeout_s = timeout_s
        self._unread = b""

    def ask(self, pair: Pair) -> None:
        """Sends a pair; a worker that has died meanwhile shows it at the next read."""
        assert self.process.stdin is not None
        self.pair = pair
        self.deadline = time.monotonic() + self._timeout_s + GRACE_S
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(pair).encode("ascii") + b"\n")

    def read(self) -> object | None:
        """The reply that has arrived, or None if the output ended (or only half a line is there: then `unfinished`)."""
        assert self.process.stdout is not None
        chunk = os.read(self.process.stdout.fileno(), 65536)
        if not chunk:
            return None
        self._unread += chunk
        line, newline, rest = self._unread.partition(b"\n")
        if not newline:
            return self
        self._unread = rest
        reply: object = json.loads(line)
        return reply

    def end(self) -> int:
        """Kills the process, waits for it and closes the pipes; returns its exit code."""
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code


def _end_all(workers: list[_Worker], pid: int) -> None:
    if os.getpid() == pid:
        while workers:
            workers.pop().end()


class WorkerPool:
    """Up to `workers` processes, started when first needed and kept until `close`.

    Args:
        timeout_s: wall time for one pair, in seconds; start-up does not count.
        memory_mb: address space of one worker, in MiB.
        workers: number of processes at most.
    """

    def __init__(self, timeout_s: float, memory_mb: int, workers: int) -> None:
        self.timeout_s, self.memory_mb, self.workers = timeout_s, memory_mb, workers
        self.killed: list[KilledPair] = []
        self._running: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _end_all, self._running, os.getpid())

    def judge(self, pairs: list[Pair]) -> dict[Pair, bool]:
        """Verdicts of distinct pairs. Pairs that cost a worker its life are False and appended to `killed`.

        Raises:
            WorkerStartError: no worker can be started.
        """
        verdicts: dict[Pair, bool] = {}
        waiting = deque(pairs)
        retried: set[Pair] = set()
        try:
            while len(verdicts) < len(pairs):
                while waiting and len(self._running) < min(self.workers, len(pairs) - len(verdicts)):
                    self._running.append(_Worker(self.timeout_s, self.memory_mb))
                for worker in self._running:
                    if waiting and worker.ready and worker.pair is None:
                        worker.ask(waiting.popleft())
                for worker in self._wait():
                    self._settle(worker, verdicts, waiting, retried)
        except BaseException:  # a worker left at work would answer the next batch
            self.close()
            raise
        return verdicts

    def _wait(self) -> list[_Worker]:
        """Workers that wrote, died or passed their deadline."""
        busy = [worker for worker in self._running if worker.pair is not None or not worker.ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            patience = min(worker.deadline for worker in busy) - time.monotonic()
            written: list[_Worker] = [key.data for key, _ in selector.select(max(0.0, patience))]
        return written or [worker for worker in busy if time.monotonic() >= worker.deadline]

    def _settle(self, worker: _Worker, verdicts: dict[Pair, bool], waiting: deque[Pair], retried: set[Pair]) -> None:
        overdue = time.monotonic() >= worker.deadline
        reply = None if overdue else worker.read()
        if reply is worker:  # half a line
            return
        if not worker.ready:
            if reply != "ready":
                self._running.remove(worker)
                worker.end()
                why = (
                    reply["error"]
                    if isinstance(reply, dict)
                    else f"nothing within {START_UP_S:g} s"
                    if overdue
                    else "it died"
                )
                raise WorkerStartError(
                    f"grading worker did not start: {why}. MATH answers need `pip install math-verify`."
                )
            worker.ready = True
            return
        pair = worker.pair
        assert pair is not None
        worker.pair = None
        worker.served += 1
        out_of_memory = isinstance(reply, dict) and reply["error"] == "memory"
        if reply is not None and not out_of_memory:
            verdicts[pair] = reply is True
            return
        self._running.remove(worker)
        code = worker.end()
        timed_out = overdue or (code == -getattr(signal, "SIGALRM", 0) and not out_of_memory)
        if (
            not timed_out and worker.served > 1 and pair not in retried
        ):  # perhaps its predecessors' memory: a fresh start
            retried.add(pair)
            waiting.appendleft(pair)
            return
        verdicts[pair] = False
        gold, prediction = pair
        self.killed.append(
            KilledPair(prediction, gold, "time" if timed_out else "memory" if out_of_memory else "crash")
        )

    def close(self) -> None:
        """Ends all workers; the next `judge` starts new ones."""
        _end_all(self._running, os.getpid())
