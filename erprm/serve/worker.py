"""One thread that does what requests ask for, those that come at about the same time together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from erprm.serve.refusals import RefusedError

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 60


@dataclass(eq=False)
class Job:
    """Something that was asked for.

    Attributes:
        asked: what.
        future: gets the result. One that is cancelled before its turn is dropped.
    """

    asked: Any
    future: Future[Any] = field(default_factory=Future)


class Worker:
    """A queue and the thread that empties it.

    Args:
        solve: gives every job of a batch its result or its error, in the worker's thread.
        max_waiting: jobs that may wait.
        max_batch: jobs that are solved together.
        gather_s: seconds to wait for more jobs after the first.
    """

    def __init__(
        self, solve: Callable[[Sequence[Job]], None], max_waiting: int, max_batch: int, gather_s: float
    ) -> None:
        self._solve, self._max_waiting, self._max_batch, self._gather_s = solve, max_waiting, max_batch, gather_s
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._closing = False
        self._last_batch_s = 1.0
        # A second signal may end the process while a search runs.
        self._thread = threading.Thread(target=self._run, name="erprm-serve", daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def submit(self, asked: Any) -> Future[Any]:
        """Puts something into the queue.

        Raises:
            RefusedError: with status 429 if the queue is full, 503 if the server is closing.
        """
        with self._changed:
            if self._closing:
                raise _closing()
            if len(self._waiting) >= self._max_waiting:
                self._waiting = [job for job in self._waiting if not job.future.cancelled()]
            if len(self._waiting) >= self._max_waiting:
                raise RefusedError(
                    429,
                    f"{len(self._waiting)} requests are waiting, as many as may",
                    retry_after_s=min(_LONGEST_WAIT_S, math.ceil(self._last_batch_s)),
                )
            job = Job(asked)
            self._waiting.append(job)
            self._changed.notify_all()
        return job.future

    @property
    def waiting(self) -> int:
        """Jobs whose turn has not come."""
        with self._changed:
            return sum(not job.future.cancelled() for job in self._waiting)

    @property
    def is_closing(self) -> bool:
        """True once nothing more is taken."""
        return self._closing

    def close(self) -> None:
        """Refuses what waits and what comes; what runs is finished."""
        with self._changed:
            self._closing = True
            refused, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in refused:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(_closing())

    def join(self) -> None:
        """Waits until the last batch is done, after :meth:`close`."""
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            if batch := self._next_batch():
                began = time.monotonic()
                try:
                    self._solve(batch)
                except Exception as error:
                    log.exception("a batch of requests failed")
                    for job in batch:
                        if not job.future.done():
                            job.future.set_exception(error)
                self._last_batch_s = time.monotonic() - began

    def _next_batch(self) -> list[Job]:
        """The jobs that are solved next; none if the server is closing, or all have been cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(lambda: len(self._waiting) >= self._max_batch or self._closing, self._gather_s)
            taken, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
        return [job for job in taken if job.future.set_running_or_notify_cancel()]


def _closing() -> RefusedError:
    return RefusedError(503, "the server is closing", retry_after_s=5)
