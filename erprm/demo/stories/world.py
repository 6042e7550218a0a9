"""The stories as a world of the demo."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from erprm.data import ProcessRewardDataModule
from erprm.data.records import write_records
from erprm.demo.language import LanguageWorld
from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.drills import TITLE, calculations, judged_drills
from erprm.demo.stories.templates import Problem, Template, load_templates, template_named
from erprm.demo.stories.writer import Mistakes, misread_steps, write_solution
from erprm.demo.world import BaseStage, Fit
from erprm.models import ProcessRewardModel


class StoriesWorld(LanguageWorld[Problem]):
    """Word problems in plain English."""

    name = "stories"
    drilled, drill_title = "calculator", TITLE
    lines = "12 boxes x 4 pens = 48 pens\n30% of $1250 = $375\n375 - 48 = 327\n#### 327"

    @property
    def templates(self) -> Sequence[Template]:
        """Those of ``templates.txt``."""
        return list(load_templates().values())

    @property
    def checker_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The calculator when it has learned to check calculations."""
        return [("checker", self._checker)]

    def drill_lines(self, rng: random.Random) -> list[str]:
        """Calculations."""
        return calculations(self.seen_templates, rng)

    def _checker(self, calculator: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        rollouts = folder / "drills.parquet"
        rng = random.Random(f"judged drills {seed}")
        write_records(judged_drills(self.seen_templates, rng, self.recipe.drills), rollouts)
        model = ProcessRewardModel(
            str(calculator), step_format=self.step_format, **self.optimization(self.recipe.prm_learning_rate)
        )
        data = ProcessRewardDataModule(
            str(rollouts), labels="soft", cache_dir=str(folder / "cache"), **self.sizes.batches, seed=seed
        )
        fit(model, data, folder, 1)
        model.save_pretrained(folder)

    def writer(self, rng: random.Random) -> Callable[[Problem], str]:
        """Misreads steps, and slips."""
        misread = misread_steps(self.seen_templates, rng, self.recipe.systematic_share)
        mistakes = Mistakes(misread, self.recipe.systematic_rate, self.recipe.slip_rate)
        return lambda problem: write_solution(problem, rng, mistakes)

    def first_wrong(self, problem_id: str, steps: Sequence[str]) -> int:
        """The first wrong step by the exact checker."""
        return first_wrong(StoryChecker(*template_named(problem_id)).check(steps))
