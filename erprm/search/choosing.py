"""Choice of the answer among the candidates of a search."""

from __future__ import annotations

from erprm.eta import Eta
from erprm.metrics.choice import Select, choose
from erprm.search.searcher import SearchResult


def chosen_candidate(result: SearchResult, select: Select, vote_eta: Eta | None) -> int:
    """The place of the answer among the candidates; one that was cut off is taken only if all were.

    Args:
        result: of a search.
        select: how to choose, see :func:`erprm.metrics.choice.choose`.
        vote_eta: eta of an entropic vote.
    """
    if select == "best":
        return result.chosen
    candidates = result.candidates
    ended = [place for place, candidate in enumerate(candidates) if candidate.end == "stop"]
    places = ended or list(range(len(candidates)))
    scores, answers = [candidates[place].score for place in places], [candidates[place].answer for place in places]
    return places[choose(scores, answers, select, vote_eta)]
