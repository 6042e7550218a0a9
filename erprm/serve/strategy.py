"""Strategies as they stand behind the ``@`` of a model's name.

    best_of_n:n=16
    beam:width=4,expansions=4,budget=2048,select=entropic_vote,vote_eta=10

The name is one of the table of searches, and the options are fields of the search or those of :class:`Options`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from erprm.errors import InputError
from erprm.eta import Eta
from erprm.lookup import did_you_mean, look_up
from erprm.metrics.choice import Select, check_select
from erprm.search.methods import SEARCHES
from erprm.search.protocol import Search
from erprm.serve.fields import read_texts, shown, unknown_field

Searches = Mapping[str, Callable[..., Search]]


@dataclass(frozen=True)
class Options:
    """Options of every strategy.

    Attributes:
        budget: tokens that the policy may generate for a question.
        select: which of the candidates is the answer.
        vote_eta: eta of an entropic vote.
    """

    budget: int | None = None
    select: Select = "best"
    vote_eta: Eta | None = None

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"budget is {self.budget}; it must be at least 1")
        check_select(self.select, self.vote_eta)


@dataclass(frozen=True)
class Strategy:
    """A way to answer a question.

    Attributes:
        text: how it was written.
        search: what samples the candidates.
        options: the rest.
    """

    text: str
    search: Search
    options: Options

    def budget(self, max_tokens: int, default: int) -> int:
        """Tokens that the policy may generate for a question whose solutions take ``max_tokens`` at most.

        Without a budget of its own, a search with a number ``n`` of solutions gets what these may take.
        """
        if self.options.budget is not None:
            return self.options.budget
        n = getattr(self.search, "n", None)
        return n * max_tokens if isinstance(n, int) else default


def read_strategy(text: str, searches: Searches, defaults: Options) -> Strategy:
    """Reads what stands behind the ``@``.

    Args:
        text: a name, then perhaps ``:`` and options, ``key=value`` each, separated by commas.
        searches: the searches that may be named. No other name is looked up: the text may come from a stranger.
        defaults: where the text does not say; a text with ``select`` says so for ``vote_eta``, too.

    Raises:
        ValueError: if a name or value is not known; says what would be accepted, and which name is close.
    """
    name, _, listed = text.partition(":")
    if name not in searches:
        raise InputError(
            f"strategy {shown(name)} is not known; it must be one of {', '.join(searches)}"
            f"{did_you_mean(name, searches)}"
        )
    texts = _pairs(listed, text) if listed else {}
    make: Any = searches[name]
    general = {field.name for field in dataclasses.fields(Options)}
    own = {field.name for field in dataclasses.fields(make) if field.init} if dataclasses.is_dataclass(make) else set()
    for key in texts:
        if key not in own | general:
            raise unknown_field(key, sorted(own) + sorted(general - own))
    arguments = read_texts(make, {k: v for k, v in texts.items() if k in own}) if own else {}
    given: dict[str, Any] = read_texts(Options, {k: v for k, v in texts.items() if k in general - own})
    if "select" in given:
        given.setdefault("vote_eta", None)
    return Strategy(text, make(**arguments), dataclasses.replace(defaults, **given))


def searches_for(default: str) -> dict[str, Callable[..., Search]]:
    """The searches that requests may name: those of the package, and that of the server's own default.

    Args:
        default: the server's strategy, whose name may be the import path of a class.

    Raises:
        ValueError: if nothing is there, or nothing that searches.
    """
    name = default.partition(":")[0]
    make: Any = look_up(SEARCHES, name, "strategy").entry
    if not callable(getattr(make, "search", None)):
        raise InputError(f"strategy names {name!r}, which has no method search(budget)")
    return {**SEARCHES, name: make}


def _pairs(listed: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in listed.split(","):
        key, equals, value = (part.strip() for part in option.partition("="))
        if not key or not equals:
            raise InputError(f"strategy {shown(text)} has the option {shown(option)}; it must be key=value")
        if key in found:
            raise InputError(f"strategy {shown(text)} has {key} twice")
        found[key] = value
    return found
