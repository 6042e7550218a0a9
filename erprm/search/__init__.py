"""Step-guided decoding: ways to spend a budget of generated tokens on a problem, guided by a scorer of steps."""

from typing import TYPE_CHECKING

from erprm.lazy import public_names

if TYPE_CHECKING:
    from erprm.search.cascade import Cascade as Cascade
    from erprm.search.methods.adaptive_n import AdaptiveN as AdaptiveN
    from erprm.search.methods.beam import BeamSearch as BeamSearch
    from erprm.search.methods.best_of_n import BestOfNSearch as BestOfNSearch
    from erprm.search.methods.dvts import DVTS as DVTS
    from erprm.search.methods.look_ahead import LookAhead as LookAhead
    from erprm.search.methods.particles import ParticleSearch as ParticleSearch
    from erprm.search.methods.step_rejection import StepRejection as StepRejection
    from erprm.search.protocol import START as START
    from erprm.search.protocol import Budget as Budget
    from erprm.search.protocol import Decoding as Decoding
    from erprm.search.protocol import Expand as Expand
    from erprm.search.protocol import PartialSolution as PartialSolution
    from erprm.search.protocol import Search as Search
    from erprm.search.protocol import SearchSteps as SearchSteps
    from erprm.search.reading import Reading as Reading
    from erprm.search.searcher import Searcher as Searcher
    from erprm.search.searcher import SearchError as SearchError
    from erprm.search.searcher import SearchResult as SearchResult

__all__, __getattr__, __dir__ = public_names(__name__, __file__)
