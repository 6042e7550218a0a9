"""Worker processes that judge pairs of answers and can be killed: time limit, memory limit, crash.

Plain `subprocess` with a line protocol (see the module `worker`), not `multiprocessing`: daemonic processes such as
DataLoader workers may have no multiprocessing children, and a forked child would inherit torch, threads and locks.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypedDict

from erprm.errors import FailedRunError
from erprm.grading.workers.isolation import isolated_python

Pair = tuple[str, str]  # gold answer, predicted answer
Reason = Literal["time", "memory", "crash"]

# A pair has `timeout_s` of processor time, and this many times as much wall time where the machine is busy.
WALL_TIME_FACTOR = 2.0
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
    reason: Reason


def _start_error(why: str) -> WorkerStartError:
    return WorkerStartError(f"grading worker did not start: {why}. MATH answers need `pip install math-verify`.")


class WorkerStartError(FailedRunError):
    """A grading worker did not come up; the message says why and what to install."""


class _Reply(TypedDict, total=False):
    """Reply of a worker: see `erprm.grading.workers.worker`."""

    equal: bool
    error: str


class _Worker:
    """One process, and the pair it is at work on."""

    def __init__(self, timeout_s: float, memory_mb: int) -> None:
        self.process = subprocess.Popen(
            isolated_python("erprm.grading.workers.worker", "serve", str(timeout_s), str(memory_mb)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.pair: Pair | None = None
        self.ready = False
        self.served = 0
        self.deadline = time.monotonic() + START_UP_S
        self._unread = b""

    def ask(self, pair: Pair, deadline: float) -> None:
        """Sends a pair to be judged until `deadline`; a worker that has died meanwhile shows it at the next read."""
        assert self.process.stdin is not None
        self.pair, self.deadline = pair, deadline
        wall_s = max(0.001, deadline - time.monotonic())
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([*pair, wall_s]).encode("ascii") + b"\n")

    def read(self) -> _Reply | None:
        """The reply that has arrived, or None if only a part of it has.

        Raises:
            EOFError: the process has ended.
        """
        assert self.process.stdout is not None
        chunk = os.read(self.process.stdout.fileno(), 65536)
        if not chunk:
            raise EOFError
        self._unread += chunk
        if not self._unread.endswith(b"\n"):
            return None
        reply: _Reply = json.loads(self._unread)
        self._unread = b""
        return reply

    def end(self) -> int:
        """Kills the process and closes its pipes; returns the exit code."""
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code


@dataclass
class _Batch:
    """Pairs on their way through the pool."""

    waiting: deque[Pair]
    verdicts: dict[Pair, bool] = field(default_factory=dict)
    deadlines: dict[Pair, float] = field(default_factory=dict)
    retried: set[Pair] = field(default_factory=set)


def _end_all(workers: list[_Worker], pid: int) -> None:
    if os.getpid() == pid:
        while workers:
            workers.pop().end()


class WorkerPool:
    """Up to `workers` processes, started when first needed and kept until `close`.

    Args:
        timeout_s: processor time for one pair, in seconds, and half of its wall time; the first start-up of a worker
            does not count.
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
        batch = _Batch(deque(pairs))
        try:
            while len(batch.verdicts) < len(pairs):
                while batch.waiting and len(self._running) < min(self.workers, len(pairs) - len(batch.verdicts)):
                    self._running.append(_Worker(self.timeout_s, self.memory_mb))
                for worker in self._running:
                    if batch.waiting and worker.ready and worker.pair is None:
                        pair = batch.waiting.popleft()
                        limit = time.monotonic() + WALL_TIME_FACTOR * self.timeout_s
                        worker.ask(pair, batch.deadlines.setdefault(pair, limit))
                self._serve(batch)
        except BaseException:  # a worker left at work would answer the next batch
            self.close()
            raise
        return batch.verdicts

    def _serve(self, batch: _Batch) -> None:
        """Waits until a worker writes, ends or passes its deadline, and takes up what happened."""
        busy = [worker for worker in self._running if worker.pair is not None or not worker.ready]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            retried = [batch.deadlines[pair] for pair in batch.waiting if pair in batch.deadlines]
            patience = min([*(worker.deadline for worker in busy), *retried]) - time.monotonic()
            written: list[_Worker] = [key.data for key, _ in selector.select(max(0.0, patience))]
        for worker in written:  # a reply counts even if this process was too busy to read it in time
            self._take_reply(worker, batch)
        if not written:
            for worker in busy:
                if time.monotonic() >= worker.deadline:
                    self._lose(worker, batch, "time")
        for pair in [pair for pair in batch.waiting if batch.deadlines.get(pair, math.inf) <= time.monotonic()]:
            batch.waiting.remove(pair)  # its time ran out while a fresh worker was starting
            self._give_up(pair, batch, "time")

    def _take_reply(self, worker: _Worker, batch: _Batch) -> None:
        try:
            reply = worker.read()
        except EOFError:
            self._lose(worker, batch)
            return
        if reply is None:
            return
        if not worker.ready:
            if "error" in reply:
                raise _start_error(reply["error"])
            worker.ready = True
        elif reply.get("error") == "memory":
            self._lose(worker, batch, "memory")
        elif worker.pair is not None:
            batch.verdicts[worker.pair] = reply.get("equal", False)
            worker.pair = None
            worker.served += 1

    def _lose(self, worker: _Worker, batch: _Batch, reason: Reason | None = None) -> None:
        """Ends a worker and grades its pair False, or gives the pair to a fresh worker for the rest of its time.

        A fresh worker is tried if the memory or the crash may stem from pairs that the lost one had served before.
        """
        self._running.remove(worker)
        code = worker.end()
        pair = worker.pair
        if pair is None:
            raise _start_error("it ended" if reason is None else f"nothing within {START_UP_S:g} s")
        if reason is None:
            timers = (-getattr(signal, "SIGALRM", 0), -getattr(signal, "SIGPROF", 0))
            reason = "time" if code in timers else "crash"
        if reason != "time" and worker.served and pair not in batch.retried:
            batch.retried.add(pair)
            batch.waiting.appendleft(pair)
        else:
            self._give_up(pair, batch, reason)

    def _give_up(self, pair: Pair, batch: _Batch, reason: Reason) -> None:
        batch.verdicts[pair] = False
        gold, prediction = pair
        self.killed.append(KilledPair(prediction, gold, reason))

    def close(self) -> None:
        """Ends all workers; the next `judge` starts new ones."""
        _end_all(self._running, os.getpid())
