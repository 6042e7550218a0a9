"""The stories as a world of the demo."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from erprm.demo.language import LanguageWorld
from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.drills import TITLE, calculations, miscalculated
from erprm.demo.stories.templates import Problem, Template, load_templates, template_named
from erprm.demo.stories.writer import Mistakes, misread_steps, write_solution


class StoriesWorld(LanguageWorld[Problem]):
    """Word problems in plain English."""

    name = "stories"
    drilled, drill_title = "calculator", TITLE
    lines = "12 boxes x 4 pens = 48 pens\n30% of $1250 = $375\n375 - 48 = 327\n#### 327"

    @property
    def templates(self) -> Sequence[Template]:
        """Those of ``templates.txt``."""
        return list(load_templates().values())

    def drill_lines(self, rng: random.Random) -> list[str]:
        """Calculations."""
        return calculations(self.seen_templates, rng)

    def mistaken(self, line: str, rng: random.Random) -> str:
        """Changes a digit of the result."""
        return miscalculated(line, rng)

    def writer(self, rng: random.Random) -> Callable[[Problem], str]:
        """Misreads steps, and slips."""
        misread = misread_steps(self.seen_templates, rng, self.recipe.systematic_share)
        mistakes = Mistakes(misread, self.recipe.systematic_rate, self.recipe.slip_rate)
        return lambda problem: write_solution(problem, rng, mistakes)

    def first_wrong(self, problem_id: str, steps: Sequence[str]) -> int:
        """The first wrong step by the exact checker."""
        return first_wrong(StoryChecker(*template_named(problem_id)).check(steps))
