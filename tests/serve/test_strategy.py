"""Strategies in the names of models."""

from dataclasses import dataclass
from typing import Any

import pytest

from erprm.eta import read_eta
from erprm.search import BeamSearch, BestOfNSearch, StepRejection
from erprm.search.methods import SEARCHES
from erprm.search.protocol import START, Budget, Expand, SearchSteps
from erprm.serve.strategy import Options, Strategy, read_strategy, searches_for

SERVER = Options(select="majority")


def read(text: str, defaults: Options = SERVER) -> Strategy:
    return read_strategy(text, SEARCHES, defaults)


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_of_the_registry_may_be_named(name: str) -> None:
    strategy = read(name)
    assert type(strategy.search) is SEARCHES[name]
    assert strategy.options == SERVER


def test_options_have_the_types_of_the_fields_of_the_search() -> None:
    assert read("best_of_n:n=16").search == BestOfNSearch(16)
    assert read("best_of_n:n=null").search == BestOfNSearch()
    assert read("beam: width = 4, expansions=2").search == BeamSearch(4, 2)
    assert read("step_rejection:threshold=1,tries=7").search == StepRejection(1.0, 7)


def test_options_of_every_strategy_stand_beside_those_of_the_search() -> None:
    strategy = read("beam:width=2,budget=2048,select=entropic_vote,vote_eta=10")
    assert strategy.search == BeamSearch(2, 4)
    assert strategy.options == Options(2048, "entropic_vote", 10)
    vote_eta = read("beam:select=entropic_vote,vote_eta=inf").options.vote_eta
    assert read_eta(vote_eta) == float("inf")


def test_a_selection_of_its_own_does_not_take_the_eta_of_the_server() -> None:
    server = Options(select="entropic_vote", vote_eta=3.0)
    assert read("beam", server).options == server
    assert read("beam:select=best", server).options == Options()


def test_a_search_with_a_number_of_solutions_gets_what_they_may_take() -> None:
    assert read("best_of_n:n=16").budget(100, default=7) == 1600
    assert read("best_of_n").budget(100, default=7) == 7
    assert read("best_of_n:n=16,budget=300").budget(100, default=7) == 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beem", "strategy 'beem' is not known; .* did you mean 'beam'"),
        ("", "strategy '' is not known"),
        ("os.system", "strategy 'os.system' is not known"),
        ("tests.serve.test_strategy.Own", "is not known"),
        ("beam:widht=4", "'widht' is not supported; known are .*; did you mean 'width'"),
        ("beam:n=4", "'n' is not supported"),
        ("beam:width", "has the option 'width'; it must be key=value"),
        ("beam:width=", "width is ''; it must be an integer"),
        ("beam:,", "has the option ''"),
        ("beam:width=2,width=3", "has width twice"),
        ("beam:width=2.5", "width is '2.5'; it must be an integer"),
        ("beam:width=true", "width is 'true'; it must be an integer"),
        ("beam:width=0", "width is 0; it must be at least 1"),
        ("beam:width=99999999999999999999", "it must be an integer"),
        ("step_rejection:threshold=NaN", "threshold is 'NaN'; it must be a number"),
        ("step_rejection:threshold=1e999", "it must be a number"),
        ("beam:budget=0", "budget is 0; it must be at least 1"),
        ("beam:select=entropic", "select is 'entropic'; it must be one of"),
        ("beam:select=entropic_vote,vote_eta=-1", "vote_eta is -1; it must be at least 0"),
        ("beam:select=entropic_vote,vote_eta=much", "vote_eta is 'much'"),
        ("beam:select=best,vote_eta=1", "which select='best' does not read"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(text)


@dataclass(frozen=True)
class Own:
    """One solution."""

    scorer: Any = None
    note: str = ""

    def search(self, budget: Budget) -> SearchSteps:
        [[solution]] = yield Expand([START], whole=True)
        return [solution]


def test_the_search_of_the_server_may_be_ones_own_and_is_then_known_by_its_path() -> None:
    path = f"{__name__}.Own"
    searches = searches_for(f"{path}:note=a")
    assert list(searches) == [*SEARCHES, path]
    assert read_strategy(f"{path}:note=7", searches, SERVER).search == Own(note="7")
    with pytest.raises(ValueError, match=r"strategy is 'beem'; .* did you mean 'beam'"):
        searches_for("beem")
    with pytest.raises(ValueError, match="which has no method search"):
        searches_for("os.path.join")
