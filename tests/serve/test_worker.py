"""The queue: what is solved together, what is dropped, and how it ends."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import pytest

from erprm.serve.refusals import RefusedError
from erprm.serve.worker import Job, Worker

Make = Callable[..., Worker]


class Echo:
    """Gives every job what was asked, once it may; keeps the batches."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self, jobs: Sequence[Job]) -> None:
        self.batches.append([job.asked for job in jobs])
        self.began.set()
        assert self.may_end.wait(60)
        for job in jobs:
            if job.asked == "fail":
                raise ZeroDivisionError
            job.future.set_result(job.asked)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def make(echo: Echo) -> Iterator[Make]:
    workers: list[Worker] = []

    def make(max_waiting: int = 100, max_batch: int = 100, gather_s: float = 0.0) -> Worker:
        workers.append(Worker(echo, max_waiting, max_batch, gather_s))
        return workers[-1]

    yield make
    echo.may_end.set()
    for worker in workers:
        worker.close()


def test_what_comes_within_the_window_is_solved_together_in_its_order(make: Make, echo: Echo) -> None:
    worker = make(max_batch=3, gather_s=10.0)
    echo.may_end.set()
    worker.start()
    futures = [worker.submit(number) for number in range(3)]
    # The batch is full long before the window ends.
    assert [future.result(5) for future in futures] == [0, 1, 2]
    assert echo.batches == [[0, 1, 2]]


def test_what_comes_while_a_batch_runs_makes_the_next_ones(make: Make, echo: Echo) -> None:
    worker = make(max_batch=2)
    worker.start()
    first = worker.submit("first")
    assert echo.began.wait(60)
    futures = [worker.submit(number) for number in range(3)]
    assert worker.waiting == 3
    echo.may_end.set()
    assert [future.result(60) for future in [first, *futures]] == ["first", 0, 1, 2]
    assert echo.batches == [["first"], [0, 1], [2]]


def test_what_is_cancelled_before_its_turn_is_dropped_and_leaves_its_place_to_others(make: Make, echo: Echo) -> None:
    worker = make(max_waiting=2)
    worker.start()
    first = worker.submit("first")
    assert echo.began.wait(60)
    dropped, kept = worker.submit("dropped"), worker.submit("kept")
    with pytest.raises(RefusedError, match="2 requests are waiting") as refused:
        worker.submit("too many")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
    assert dropped.cancel()
    assert worker.waiting == 1
    last = worker.submit("last")
    echo.may_end.set()
    assert [first.result(60), kept.result(60), last.result(60)] == ["first", "kept", "last"]
    with pytest.raises(CancelledError):
        dropped.result(60)
    assert "dropped" not in [asked for batch in echo.batches for asked in batch]


def test_what_runs_is_finished_when_the_worker_closes_and_the_rest_is_refused(make: Make, echo: Echo) -> None:
    worker = make()
    worker.start()
    running = worker.submit("running")
    assert echo.began.wait(60)
    waiting = worker.submit("waiting")
    worker.close()
    for refuse in (lambda: waiting.result(60), lambda: worker.submit("late")):
        with pytest.raises(RefusedError, match="the server is closing") as refused:
            refuse()
        assert refused.value.status == 503
    echo.may_end.set()
    worker.join()
    assert running.result(0) == "running"
    assert echo.batches == [["running"]]


def test_an_error_of_a_batch_is_told_to_each_of_its_jobs_and_the_next_batch_is_solved(make: Make, echo: Echo) -> None:
    worker = make(max_batch=2, gather_s=10.0)
    echo.may_end.set()
    worker.start()
    for future in [worker.submit("fail"), worker.submit("beside it")]:
        with pytest.raises(ZeroDivisionError):
            future.result(60)
    futures = [worker.submit("a"), worker.submit("b")]
    assert [future.result(60) for future in futures] == ["a", "b"]
