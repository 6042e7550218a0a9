"""The stories as a world of the demo."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from erprm.data.policy import PolicyDataModule
from erprm.demo.language import LanguageWorld
from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.drills import drills
from erprm.demo.stories.templates import Problem, Template, load_templates, template_named
from erprm.demo.stories.writer import Mistakes, misread_steps, write_solution
from erprm.demo.world import BaseStage, Fit
from erprm.models import PolicyModel
from erprm.runs.atomic import write_json_lines


class StoriesWorld(LanguageWorld[Problem]):
    """Word problems in plain English."""

    name = "stories"
    lines = "12 boxes x 4 pens = 48 pens\n30% of $1250 = $375\n375 - 48 = 327\n#### 327"

    @property
    def templates(self) -> Sequence[Template]:
        """Those of ``templates.txt``."""
        return list(load_templates().values())

    @property
    def base_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The backbone, and what it becomes when it has learned to calculate."""
        return [*super().base_stages, ("calculator", self._calculator)]

    def _calculator(self, base: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        seen = [template for template in self.templates if not template.held_out]
        samples = folder / "drills.jsonl"
        write_json_lines(drills(seen, random.Random(f"drills {seed}"), self.recipe.drills), samples)
        model = PolicyModel(str(base), **self.optimization(self.recipe.policy_learning_rate))
        fit(model, PolicyDataModule(str(samples), **self.sizes.policy_batches, seed=seed), folder, 1)
        model.save_pretrained(folder)

    def writer(self, rng: random.Random) -> Callable[[Problem], str]:
        """Misreads steps, and slips."""
        seen = [template for template in self.templates if not template.held_out]
        misread = misread_steps(seen, rng, self.recipe.systematic_share)
        mistakes = Mistakes(misread, self.recipe.systematic_rate, self.recipe.slip_rate)
        return lambda problem: write_solution(problem, rng, mistakes)

    def first_wrong(self, problem_id: str, steps: Sequence[str]) -> int:
        """The first wrong step by the exact checker."""
        return first_wrong(StoryChecker(*template_named(problem_id)).check(steps))
