"""Interface of the demo's worlds: problems with exact answers, a base model, a policy's mistakes, and sizes."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightning as L

from erprm.engines.prompts import PromptFormat
from erprm.grading.extract import Kind
from erprm.models import PolicyModel
from erprm.steps import StepFormat

PROMPT = PromptFormat("{question}\n")
Row = dict[str, Any]
ComputeDtype = Literal["float32", "bfloat16"]
PRMStart = Literal["base", "policy"]
# Trains a module on data for some epochs; files go into the folder.
Fit = Callable[[L.LightningModule, L.LightningDataModule, Path, int], object]
# Makes a stage from the folder of the one before, if there is one; gets its own folder and the seed.
BaseStage = Callable[[Path | None, Path, int, Fit], None]


@dataclass(frozen=True)
class Recipe:
    """The sizes that all worlds have: amounts of training data and lengths of training.

    Attributes:
        systematic_share: share of what the policy has wrong.
        systematic_rate: how often it mistakes that.
        slip_rate: how often it slips on anything else.
        policy_samples: solutions with such mistakes that the policy is tuned on.
        policy_learning_rate: its peak learning rate.
        train_problems: problems rolled out, one solution each.
        completions_per_step: K, completions of each step prefix.
        prm_epochs: epochs over the rollouts.
        prm_learning_rate: peak learning rate of the reward models.
        eta: entropy regularization of the ``er`` labels.
        test_problems: problems of each candidate pool, none of which is rolled out.
        candidates: candidates of each.
    """

    systematic_share: float
    systematic_rate: float
    slip_rate: float
    policy_samples: int
    policy_learning_rate: float
    train_problems: int
    completions_per_step: int
    prm_epochs: int
    prm_learning_rate: float
    eta: float
    test_problems: int
    candidates: int


@dataclass(frozen=True)
class Sizes:
    """How much is computed at a time, which is a matter of memory and speed.

    Attributes:
        max_new_tokens: longest solution.
        row_tokens: tokens of a packed row.
        batch_tokens: tokens of a training batch.
        score_tokens: tokens of a batch when scoring.
        completions: completions sampled side by side.
        problems_per_shard: problems of a shard of rollouts, or of a part of a pool.
    """

    max_new_tokens: int
    row_tokens: int
    batch_tokens: int
    score_tokens: int
    completions: int
    problems_per_shard: int

    @property
    def batches(self) -> dict[str, Any]:
        """Arguments of a data module."""
        return {"max_tokens": self.batch_tokens, "row_tokens": self.row_tokens, "max_length": self.row_tokens}


class World(ABC):
    """A kind of problem, and the models that live with it.

    Attributes:
        name: source of its problems and records.
        recipe: what results depend on.
        step_format: layout of steps for the reward models.
        sizes: how much is computed at a time.
        grading: how answers are graded.
        pools: name of each set of test problems, and of the pool of its candidates.
        prm_seeds: reward models trained for each kind of labels; 0 for one, with the demo's own seed.
        policy_epochs: epochs over the policy's samples.
        dtype: what is sampled and computed in; weights in training stay in float32.
        prm_start: the model that reward models start from.
    """

    name: ClassVar[str]
    step_format: ClassVar[StepFormat]
    sizes: ClassVar[Sizes]
    grading: ClassVar[Kind] = "gsm8k"
    pools: ClassVar[Mapping[str, str]]
    prm_seeds: int = 0
    policy_epochs: int = 1
    dtype: ComputeDtype = "float32"
    prm_start: PRMStart = "base"
    recipe: Recipe

    @property
    @abstractmethod
    def settings(self) -> Row:
        """Everything that results depend on, apart from the seed."""

    @property
    @abstractmethod
    def base_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The stages that make the base model, by name."""

    @property
    def checker_stages(self) -> Sequence[tuple[str, BaseStage]]:
        """The stages that make of the base model what reward models start from, if it is not the base model itself."""
        return ()

    @abstractmethod
    def problems(self, rng: random.Random) -> dict[str, list[Row]]:
        """Rows of problems, none of them twice: ``train``, and one list for each of :attr:`pools`."""

    @abstractmethod
    def policy_samples(self, rng: random.Random, excluded: Container[str]) -> list[Row]:
        """Problems with solutions, mistakes included: rows of :class:`erprm.data.policy.PolicyDataModule`.

        Args:
            rng: what is drawn from.
            excluded: ids of the problems of :meth:`problems`.
        """

    @abstractmethod
    def optimization(self, learning_rate: float, floor: float = 0.0) -> dict[str, Any]:
        """Arguments of a module in training."""

    def save_policy(self, policy: PolicyModel, folder: Path) -> None:
        """Writes the tuned policy as a Hugging Face folder."""
        policy.save_pretrained(folder)

    def first_wrong(self, problem_id: str, steps: Sequence[str]) -> int | None:
        """The first wrong step of a solution, from 0, or -1; None if this world has no checker of steps."""
        return None
