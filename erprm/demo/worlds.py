"""The worlds by name."""

from __future__ import annotations

from collections.abc import Callable

from erprm.demo.dial import recipe as dial_recipes
from erprm.demo.dial.world import DialWorld
from erprm.demo.stories import recipe as story_recipes
from erprm.demo.stories.world import PRM_SEEDS, StoriesWorld
from erprm.demo.world import World
from erprm.errors import UsageError

_Open = Callable[[bool, str | None, str | None, int | None], World]


def _dial(quick: bool, backbone: str | None, gguf_file: str | None, prm_seeds: int | None) -> World:
    for key, value in {"backbone": backbone, "gguf_file": gguf_file, "prm_seeds": prm_seeds}.items():
        if value is not None:
            raise UsageError(
                f"{key} is {value!r}, which is for the stories; the dial's models are made from nothing, one for each "
                "kind of labels: leave it out"
            )
    return DialWorld(dial_recipes.QUICK if quick else dial_recipes.FULL)


def _stories(quick: bool, backbone: str | None, gguf_file: str | None, prm_seeds: int | None) -> World:
    recipe = story_recipes.QUICK if quick else story_recipes.FULL
    return StoriesWorld(recipe, backbone, gguf_file, PRM_SEEDS if prm_seeds is None else prm_seeds)


# An entry more is a world more.
WORLDS: dict[str, _Open] = {"dial": _dial, "stories": _stories}


def open_world(
    name: str,
    *,
    quick: bool = False,
    backbone: str | None = None,
    gguf_file: str | None = None,
    prm_seeds: int | None = None,
) -> World:
    """A world by its name.

    Args:
        name: a key of :data:`WORLDS`.
        quick: sizes too small to learn anything.
        backbone: folder or hub id of a pretrained model, for worlds that start from one.
        gguf_file: name of a GGUF file in it.
        prm_seeds: reward models for each kind of labels, for worlds that train several.

    Raises:
        UsageError: if there is no such world, or it does not take a setting.
    """
    if name not in WORLDS:
        raise UsageError(f"world is {name!r}; it must be one of {', '.join(WORLDS)}")
    return WORLDS[name](quick, backbone, gguf_file, prm_seeds)
