"""The dial as a world of the demo: random model -> base (solves and checks) -> policy (tuned on mistakes)."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from torch.optim import AdamW

from erprm.demo.dial.base import BaseDataModule, BaseModel, save_random_model
from erprm.demo.dial.problems import (
    DialProblem,
    Mistakes,
    distinct_problems,
    random_problem,
    solution_text,
    solve,
    systematic_mistakes,
)
from erprm.demo.dial.recipe import FULL, DialRecipe
from erprm.demo.dial.tokenizer import STEP_FORMAT, make_tokenizer
from erprm.demo.world import PROMPT, BaseStage, Fit, Row, Sizes, World
from erprm.models import CosineWithWarmup, PolicyModel


class DialWorld(World):
    """A dial with ten positions, and models of half a million parameters made from nothing."""

    name = "dial"
    step_format = STEP_FORMAT
    sizes = Sizes(
        max_new_tokens=64, row_tokens=128, batch_tokens=2048, score_tokens=8192, completions=512, problems_per_shard=500
    )
    pools: ClassVar[Mapping[str, str]] = {"test": "pool"}

    def __init__(self, recipe: DialRecipe = FULL) -> None:
        self.recipe: DialRecipe = recipe

    @property
    def settings(self) -> Row:
        """The recipe."""
        return asdict(self.recipe)

    @property
    def base_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """An untrained model, and what it learns."""
        return [("random model", self.random_model), ("base model", self._base)]

    def random_model(self, _: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        """An untrained Llama and its tokenizer."""
        save_random_model(folder, self.recipe, seed)

    def _base(self, random_model: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        model = BaseModel(str(random_model), **self.optimization(self.recipe.base_learning_rate, floor=0.1))
        fit(model, BaseDataModule(self.recipe, seed), folder, 1)
        model.save_pretrained(folder)

    def problems(self, rng: random.Random) -> dict[str, list[Row]]:
        """Problems that all differ."""
        problems = self.draw_problems(rng)
        parts = {"train": problems[: self.recipe.train_problems], "test": problems[self.recipe.train_problems :]}
        return {name: [_problem_row(name, i, each) for i, each in enumerate(part)] for name, part in parts.items()}

    def draw_problems(self, rng: random.Random) -> list[DialProblem]:
        """Those of :meth:`problems`, all together."""
        return distinct_problems(rng, self.recipe.train_problems + self.recipe.test_problems)

    def policy_problems(self, rng: random.Random) -> Iterator[DialProblem]:
        """Those that the policy is tuned on, without end."""
        while True:
            yield random_problem(rng)

    def policy_samples(self, rng: random.Random, excluded: Container[str]) -> list[Row]:
        """Solutions in which some facts are mostly wrong, and others sometimes; the problems may be any."""
        mistakes = Mistakes(
            systematic_mistakes(rng, self.recipe.systematic_share), self.recipe.systematic_rate, self.recipe.slip_rate
        )
        rows = []
        for problem in islice(self.policy_problems(rng), self.recipe.policy_samples):
            prompt, completion = PROMPT.text(problem.question), solution_text(solve(problem, rng, mistakes))
            rows.append({"prompt": prompt, "completion": completion})
        return rows

    def optimization(self, learning_rate: float, floor: float = 0.0) -> dict[str, Any]:
        """Arguments of a module in training."""
        return {
            # Training here amplifies rounding: the figures of docs/demo.md belong to this kernel.
            "attn_implementation": "sdpa",
            "optimizer": partial(AdamW, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
            "scheduler": partial(CosineWithWarmup, warmup=0.08, floor=floor),
        }

    def save_policy(self, policy: PolicyModel, folder: Path) -> None:
        """Writes the policy without the tag, which it then cannot write."""
        assert policy.backbone is not None
        tokenizer = make_tokenizer(with_tag=False)
        policy.backbone.resize_token_embeddings(len(tokenizer))
        policy.backbone.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _problem_row(split: str, number: int, problem: DialProblem) -> Row:
    return {
        "problem_id": f"dial/{split}/{number}",
        "question": problem.question,
        "answer": problem.answer,
        "source": "dial",
    }
