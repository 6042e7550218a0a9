"""Progress of scoring: a scorer reports how many solutions it has scored, whether or not anything listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int], object]
_listener: ContextVar[Listener | None] = ContextVar("listener of scoring progress", default=None)


def tell_scored(solutions: int) -> None:
    """To be called in ``score_steps`` after each part of its solutions, in the thread that called it.

    A scorer that does not is shown as done when all its solutions are.

    Args:
        solutions: how many more are scored.
    """
    listener = _listener.get()
    if listener is not None:
        listener(solutions)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hands what scorers tell to the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
