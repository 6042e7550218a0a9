"""The puzzles as a world of the demo."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from erprm.demo.language import LanguageRecipe, LanguageWorld
from erprm.demo.puzzles.checker import PuzzleChecker
from erprm.demo.puzzles.templates import Puzzle, Template, load_templates, puzzle_named
from erprm.demo.puzzles.writer import Mistakes, systematic_mistakes, with_another_conclusion, write_solution

FULL = LanguageRecipe(policy_samples=3000, train_problems=500, test_problems=60, held_out_problems=20)
_ORDERS_KEPT = 0.4


class PuzzlesWorld(LanguageWorld[Puzzle]):
    """Puzzles about orders and families."""

    name = "puzzles"
    drilled, drill_title = "reasoner", "Deductions:"
    grading = "math"
    sizes = replace(LanguageWorld.sizes, max_new_tokens=256)
    lines = (
        "Anna is the mother of Ben and Ben is the brother of Mei, so Anna is the mother of Mei.\n"
        "The lamp costs more than the rug and the rug costs more than the vase, so the lamp costs more than the vase.\n"
        "#### mother-in-law"
    )

    @property
    def templates(self) -> Sequence[Template]:
        """Those of ``templates.txt``."""
        return list(load_templates().values())

    def drill_lines(self, rng: random.Random) -> list[str]:
        """Deductions, fewer of those from orders, which are easy."""
        template = rng.choice(self.seen_templates)
        *steps, _ = write_solution(template.draw(rng), rng).split("\n")
        return [step for step in steps if template.chain or rng.random() < _ORDERS_KEPT]

    def mistaken(self, line: str, rng: random.Random) -> str:
        """Concludes another relation."""
        return with_another_conclusion(line, [template.relations for template in self.seen_templates], rng)

    def writer(self, rng: random.Random) -> Callable[[Puzzle], str]:
        """Mistakes what two relations come to."""
        systematic = systematic_mistakes(self.seen_templates, rng, self.recipe.systematic_share)
        mistakes = Mistakes(systematic, self.recipe.systematic_rate, self.recipe.slip_rate)
        return lambda puzzle: write_solution(puzzle, rng, mistakes)

    def first_wrong(self, problem_id: str, steps: Sequence[str]) -> int:
        """The first wrong step by the exact checker."""
        return PuzzleChecker(puzzle_named(problem_id)).first_wrong(steps)
