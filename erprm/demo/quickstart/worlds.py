"""Worlds of the quickstart: the demo's, at sizes that take seconds on a CPU, or a minute or two with a given model."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle

from erprm.demo.dial.problems import DialProblem, distinct_problems
from erprm.demo.dial.recipe import QUICK as QUICK_DIAL
from erprm.demo.dial.world import DialWorld
from erprm.demo.language import QUICK as QUICK_STORIES
from erprm.demo.stories.world import StoriesWorld
from erprm.demo.world import BaseStage, World

_SIZES = {"train_problems": 20, "test_problems": 10, "candidates": 20, "completions_per_step": 4}
_DIAL = replace(QUICK_DIAL, **_SIZES, width=64, policy_samples=5600, policy_learning_rate=6e-3)
_STORIES = replace(QUICK_STORIES, **_SIZES, policy_samples=64, held_out_problems=1)


class MemorisedDial(DialWorld):
    """The dial, with an untrained base model and a policy that knows these very problems by heart.

    A policy that can solve others takes minutes to teach. This one has seen solutions of each problem, right ones and
    wrong ones, so its samples are right about half of the time.
    """

    def __init__(self) -> None:
        super().__init__(_DIAL)

    @property
    def base_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """An untrained model."""
        return [("base model", self.random_model)]

    def draw_problems(self, rng: random.Random) -> list[DialProblem]:
        """The same ones always."""
        return distinct_problems(random.Random("quickstart"), self.recipe.train_problems + self.recipe.test_problems)

    def policy_problems(self, rng: random.Random) -> Iterator[DialProblem]:
        """The same ones in turn."""
        return cycle(self.draw_problems(rng))


def quickstart_world(model: str | None = None, gguf_file: str | None = None) -> World:
    """The world of the quickstart.

    Args:
        model: folder or hub id of a language model, for policy and reward model; by default a tiny one from nothing.
        gguf_file: name of a GGUF file in it.

    Raises:
        InputError: if lines cannot be read back from the model's tokens.
    """
    return MemorisedDial() if model is None else StoriesWorld(_STORIES, model, gguf_file)
