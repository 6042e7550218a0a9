import signal
import sys
import time
import weakref

import pytest

from erprm.runs.signals import Stopped, stop_on_signals


class Thing:
    """Something that a weak reference can refer to."""


def test_a_signal_that_comes_during_a_finalizer_stops_the_block_after_it() -> None:
    """Python forgets what is raised in the callback of a weak reference."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
    before, waited_to_the_end = sys.unraisablehook, False
    with pytest.raises(Stopped, match="SIGTERM"):  # noqa: PT012, SIM117 (what is raised comes later)
        with stop_on_signals() as received:
            del thing
            assert received == [signal.SIGTERM]
            time.sleep(30)
            waited_to_the_end = True
    assert reference() is None
    assert not waited_to_the_end
    assert received == [signal.SIGTERM, signal.SIGTERM]
    assert sys.unraisablehook is before


def test_other_errors_of_finalizers_are_told_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
    thing = Thing()
    reference = weakref.ref(thing, lambda _: 1 // 0)
    with stop_on_signals() as received:
        del thing
    assert reference() is None
    assert (told, received) == ([ZeroDivisionError], [])
