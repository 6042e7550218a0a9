"""The world of :mod:`tests.raft.sums`."""

from tests.raft.conftest import world as world
