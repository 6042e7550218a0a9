"""RAFT: a policy fine-tuned, round by round, on those of its own solutions that a reward model scores best."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.raft.config import ProblemSet as ProblemSet
    from erprm.raft.config import RaftConfig as RaftConfig
    from erprm.raft.rounds import run_raft as run_raft
    from erprm.raft.selectors import Selector as Selector

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
