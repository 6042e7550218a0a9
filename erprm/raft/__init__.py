"""RAFT: a policy fine-tuned, round by round, on those of its own solutions that a reward model scores best."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from erprm.raft.config import ProblemSet, RaftConfig

if TYPE_CHECKING:
    from erprm.raft.rounds import run_raft
    from erprm.raft.selectors import Selector

__all__ = ["ProblemSet", "RaftConfig", "Selector", "run_raft"]

# What loads torch, by module: a command line that parses the configuration starts without it.
_MODULE_OF = {"Selector": "selectors", "run_raft": "rounds"}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"erprm.raft.{_MODULE_OF[name]}"), name)
