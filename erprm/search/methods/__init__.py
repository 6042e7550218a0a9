"""Search strategies, one a file. A new one is a file and a line of :data:`SEARCHES`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from erprm.lookup import look_up
from erprm.search.methods.adaptive_n import AdaptiveN
from erprm.search.methods.beam import BeamSearch
from erprm.search.methods.best_of_n import BestOfNSearch
from erprm.search.methods.dvts import DVTS
from erprm.search.methods.look_ahead import LookAhead
from erprm.search.methods.particles import ParticleSearch
from erprm.search.methods.step_rejection import StepRejection
from erprm.search.protocol import Search

SEARCHES: dict[str, Callable[[], Search]] = {
    "best_of_n": BestOfNSearch,
    "beam": BeamSearch,
    "step_rejection": StepRejection,
    "particles": ParticleSearch,
    "dvts": DVTS,
    "adaptive_n": AdaptiveN,
    "look_ahead": LookAhead,
}

# How results name the searches that a run has by default; manifests of runs hold these names.
DEFAULT_METHODS: dict[str, str] = {
    "best-of-N": "best_of_n",
    "beam search": "beam",
    "step-wise rejection": "step_rejection",
}

if TYPE_CHECKING:
    SearchSetting: TypeAlias = str | Search
else:
    # A parser reads an import path as the class_path of a search.
    SearchSetting = Literal[tuple(SEARCHES)] | Search


def search_of(setting: SearchSetting, key: str) -> Search:
    """The search that a setting names, with its defaults; one that is made already is taken as it is.

    Args:
        setting: a key of :data:`SEARCHES`, the import path of a class, or a search.
        key: the configuration key, for messages.

    Raises:
        ValueError: if it names nothing, or nothing that searches; says what would be accepted.
    """
    made: object = setting
    if isinstance(setting, str):
        make: Any = look_up(SEARCHES, setting, key).entry
        try:
            made = make()
        except TypeError as error:
            raise ValueError(f"{key}: {setting!r} cannot be made without arguments: {error}") from error
    if not isinstance(made, Search):
        raise ValueError(f"{key} needs search(budget); {type(made).__name__} has none")
    return made
