"""The worlds by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from erprm.demo.dial import recipe as dial_recipes
from erprm.demo.dial.world import DialWorld
from erprm.demo.language import FULL, QUICK, LanguageRecipe, LanguageWorld
from erprm.demo.puzzles.world import FULL as PUZZLES
from erprm.demo.puzzles.world import PuzzlesWorld
from erprm.demo.stories.world import StoriesWorld
from erprm.demo.world import ComputeDtype, PRMStart, World
from erprm.errors import UsageError

# Takes ``quick`` and the settings that not every world has, those of them that were given.
_Open = Callable[..., World]


def _dial(quick: bool, **settings: object) -> World:
    for key, value in settings.items():
        if value is not None:
            raise UsageError(
                f"{key} is {value!r}, which is for the stories and the puzzles; the dial's models are made from "
                "nothing, one for each kind of labels: leave it out"
            )
    return DialWorld(dial_recipes.QUICK if quick else dial_recipes.FULL)


def _in_words(world: type[LanguageWorld[Any]], full: LanguageRecipe, quick: bool, **settings: Any) -> World:
    given = {key: value for key, value in settings.items() if value is not None}
    return world(QUICK if quick else full, **given)


# An entry more is a world more.
WORLDS: dict[str, _Open] = {
    "dial": _dial,
    "stories": partial(_in_words, StoriesWorld, FULL),
    "puzzles": partial(_in_words, PuzzlesWorld, PUZZLES),
}


def open_world(
    name: str,
    *,
    quick: bool = False,
    backbone: str | None = None,
    gguf_file: str | None = None,
    prm_seeds: int | None = None,
    dtype: ComputeDtype | None = None,
    prm_start: PRMStart | None = None,
) -> World:
    """A world by its name.

    Args:
        name: a key of :data:`WORLDS`.
        quick: sizes too small to learn anything.
        backbone: folder or hub id of a pretrained model, for worlds that start from one.
        gguf_file: name of a GGUF file in it.
        prm_seeds: reward models for each kind of labels, for worlds that train several.
        dtype: what such worlds compute in.
        prm_start: the model that their reward models start from.

    Raises:
        UsageError: if there is no such world, or it does not take a setting.
    """
    if name not in WORLDS:
        raise UsageError(f"world is {name!r}; it must be one of {', '.join(WORLDS)}")
    return WORLDS[name](
        quick, backbone=backbone, gguf_file=gguf_file, prm_seeds=prm_seeds, dtype=dtype, prm_start=prm_start
    )
