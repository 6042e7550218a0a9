"""Step-guided decoding: ways to spend a budget of generated tokens on a problem, guided by a scorer of steps."""

from erprm.search.beam import BeamSearch
from erprm.search.best_of_n import BestOfNSearch
from erprm.search.protocol import START, Budget, Expand, PartialSolution, Search, SearchSteps
from erprm.search.step_rejection import StepRejection
from erprm.search.together import Decoding, Searcher, SearchError, SearchResult

__all__ = [
    "START",
    "BeamSearch",
    "BestOfNSearch",
    "Budget",
    "Decoding",
    "Expand",
    "PartialSolution",
    "Search",
    "SearchError",
    "SearchResult",
    "SearchSteps",
    "Searcher",
    "StepRejection",
]
