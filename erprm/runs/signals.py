"""Signals that ask a process to stop: interrupt key, termination, and SLURM's early warning.

Of these a command ends in order, with status 128 + the number of the signal, as a shell expects.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, *({signal.SIGUSR1} if hasattr(signal, "SIGUSR1") else ())})

Handler = Callable[[int, FrameType | None], object]
_AGAIN_AFTER_SECONDS = 0.05


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to stop.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def take_over(handler: Handler, numbers: frozenset[int] | set[int] = STOPPING) -> dict[int, Any]:
    """Has signals handled, but for those that this process was started to ignore.

    That is how a shell keeps the interrupt key from what runs in its background.

    Returns:
        What handled them before, for :func:`hand_back`. Only the main thread may handle signals; in another this does
        nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    ours_to_handle = (number for number in numbers if signal.getsignal(number) not in (None, signal.SIG_IGN))
    return {number: signal.signal(number, handler) for number in ours_to_handle}


def hand_back(handlers: dict[int, Any]) -> None:
    """Has signals handled as before :func:`take_over`."""
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Raises :class:`Stopped` on a signal while the block lasts.

    Yields:
        The signals that came. Libraries catch interrupts and raise something of their own; here they cannot be missed.
    """
    received: list[int] = []
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != owner:  # in a process forked from this one, which ends it by a signal
            os._exit(128 + number)
        received.append(number)
        raise Stopped(number)

    earlier = take_over(stop)
    try:
        with _again_after_finalizers():
            yield received
    finally:
        hand_back(earlier)


@contextmanager
def _again_after_finalizers() -> Iterator[None]:
    """Sends a signal once more that came while Python ran a finalizer, where an exception is printed and forgotten."""
    earlier, timers = sys.unraisablehook, list[threading.Timer]()

    def send_again(unraisable: UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            timers.append(threading.Timer(_AGAIN_AFTER_SECONDS, os.kill, (os.getpid(), unraisable.exc_value.number)))
            timers[-1].start()
        else:
            earlier(unraisable)

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = earlier
        for timer in timers:
            timer.cancel()


def leave_signals_to_parent(*_: object) -> None:
    """Lets a worker process work on when its whole group is asked to stop: its parent still needs it to save.

    The parent may end it by SIGTERM, as ``multiprocessing`` does.
    """
    for number in STOPPING - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for the threads to come, too
        threading.Thread(target=_end_when_parent_says, daemon=True).start()


def _end_when_parent_says() -> None:
    while (told := signal.sigwaitinfo({signal.SIGTERM})) is not None:
        if told.si_pid == os.getppid():
            os._exit(0)
