"""The settings of a RAFT run; the defaults are the paper's (arXiv 2412.11006)."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from erprm.engines.base import Sampling
from erprm.engines.prompts import PromptFormat
from erprm.engines.settings import EngineSettings
from erprm.eta import Eta
from erprm.grading import KINDS, Kind, check_grading
from erprm.inherited_help import inherits_help
from erprm.lookup import Setting, did_you_mean, setting_type
from erprm.metrics.choice import Select, check_select
from erprm.metrics.functional.aggregation import Aggregation, aggregator
from erprm.steps import check_step_style

if TYPE_CHECKING:
    from erprm.data.sources import Problem

# Selectors without a reward model, by name, with the keys of `RaftConfig` that decide their scores.
SELECTORS: dict[str, tuple[str, ...]] = {"random": ("seed",), "oracle": ("grading", "correct_threshold")}
BestBy: TypeAlias = Literal["pass_at_1", "greedy"]

# What a selector is called that the key `selector` names itself, in the place of a name.
OWN_SELECTOR = "selector"

if TYPE_CHECKING:
    SelectorSetting: TypeAlias = Setting
else:
    SelectorSetting = setting_type(SELECTORS, dict[str, Any])


@dataclass(frozen=True)
class ProblemSet:
    """Problems with their answers.

    Attributes:
        source: where problems come from.
        path: file or hub id of the problems; by default the source's own hub id.
        split: split of the problems.
        limit: at most this many problems.
    """

    source: Literal["gsm8k", "math", "jsonl"] = "gsm8k"
    path: str | None = None
    split: str = "train"
    limit: int | None = None

    def load(self) -> list[Problem]:
        """All of them, in the order of their file."""
        from erprm.data.sources import load_problems

        return load_problems(self.source, self.path, self.split, self.limit)

    def kind(self, grading: str | dict[str, Any]) -> Kind:
        """Settings for reading and comparing their answers, unless the user's own grader does it."""
        kind: Kind = next((kind for kind in KINDS if kind == grading), "auto")
        return self.source if kind == "auto" and self.source != "jsonl" else kind


def check_held_out(problems: Iterable[Problem], held_out: Iterable[Problem]) -> None:
    """Refuses problems to learn from that are among the held-out ones.

    Raises:
        ValueError: naming the first.
    """
    unseen = {problem.question.strip() for problem in held_out}
    for problem in problems:
        if problem.question.strip() in unseen:
            raise ValueError(
                f"problem {problem.problem_id!r} is among the held-out problems, too: {problem.question[:80]!r}; "
                "problems and held_out must not share a question"
            )


@inherits_help
@dataclass
class RaftConfig(EngineSettings):
    """Improves a policy with a reward model: samples, keeps the best solutions, fine-tunes on them, round by round.

    Attributes:
        model: the initial policy: local folder or hub id.
        output_dir: folder of the run; the same settings again continue a run that was interrupted.
        selector: what chooses the solutions: a name in ``scorers``, ``random``, or ``oracle`` (only right ones); or a
            class of your own, as in ``scorers``, by its import path or by ``class_path`` and ``init_args``.
        scorers: process reward models by name, such as ``er: runs/prm``: a folder, hub id or URL, or any class with
            ``score_steps`` (of steps) or ``scores`` (of candidates) by its ``class_path`` and ``init_args``. Only
            those that are used are loaded.
        problems: the problems whose solutions the policy learns from.
        held_out: the problems on which every policy is evaluated.
        rounds: rounds of sampling, choosing and fine-tuning.
        prompts_per_round: how many of the shuffled problems each round takes as its own; by default the problems are
            shared out evenly among the rounds.
        solutions_per_problem: n, solutions sampled for each problem.
        aggregation: score of a solution from those of its steps.
        select: which solutions are kept: the ``best`` scored, or those with the answer that wins a ``majority``,
            ``weighted_vote`` or ``entropic_vote`` among the solutions that ended.
        vote_eta: eta of the entropic vote; by default 3 over the spread of a problem's scores.
        top_k: solutions kept of each problem, at most: those that score best.
        threshold: keep only solutions that score at least this; null keeps the best whatever they score.
        deduplicate: keep equal texts of a problem once.
        importance_cap: weigh the loss of each token by its probability over the one it was sampled with, or by this
            number, at least 1, where the ratio is larger; null weighs all alike.
        epochs: epochs over the kept solutions.
        learning_rate: that of the first round; round i of N, counted from 0, has ``learning_rate * (N - i) / N``.
        sft: ``trainer``, ``model`` and ``data`` of ``erprm sft``, for every round; what a round decides (the backbone,
            the data, the learning rate, the epochs, the importance cap, where to write) is not set here.
        launcher: the words before ``sft --config FILE``, such as ``srun erprm``; by default this Python with ``-m
            erprm``.
        prompt: how a question becomes a prompt.
        style: how the steps of a solution are separated; see the page on steps.
        temperature: temperature of the solutions.
        top_p: mass of most likely tokens to sample from.
        max_tokens: the most tokens of a solution; one that is cut off there is never kept.
        stop: strings that end a solution.
        grading: how outcomes are graded, as for ``erprm rollout``.
        correct_threshold: reward from which an outcome counts as correct.
        evaluation_samples: solutions of each held-out problem, for pass@1, the KL divergence and the mean score.
        evaluation_scorer: name in ``scorers`` whose mean score is set against the accuracy; by default the selector.
        device: ``auto`` (a GPU if there is one) or a torch device, for sampling and scoring.
        dtype: ``auto`` or the name of a torch dtype, of the policy where it samples and is scored.
        batch_tokens: tokens of a batch when log-probabilities are computed.
        problems_per_part: problems sampled and scored between two writes: what a kill can cost.
        seed: seed of the run.
        best_by: held-out accuracy that says which round is best: ``pass_at_1`` or ``greedy``.
        patience: stop after so many rounds in a row that are no better than the best before them, at least 1; null does
            all rounds.
        keep_rounds: how many of the last rounds keep their solutions and policy; of earlier ones the evaluation stays,
            and the policy of the best.
        allow_change: continue although settings of finished stages have changed; these stages stay as they are.
    """

    output_dir: str
    selector: SelectorSetting = "er"
    scorers: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    problems: ProblemSet = field(default_factory=ProblemSet)
    held_out: ProblemSet = field(default_factory=lambda: ProblemSet(split="test"))
    rounds: int = 3
    prompts_per_round: int | None = None
    solutions_per_problem: int = 16
    aggregation: Aggregation = "min"
    select: Select = "best"
    vote_eta: Eta | None = None
    top_k: int = 1
    threshold: float | None = None
    deduplicate: bool = True
    importance_cap: float | None = None
    epochs: int = 2
    learning_rate: float = 5e-7
    sft: dict[str, Any] = field(default_factory=dict)
    launcher: list[str] = field(default_factory=list)
    prompt: PromptFormat = field(default_factory=PromptFormat)
    style: str = "lines"
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: list[str] = field(default_factory=list)
    grading: str | dict[str, Any] = "auto"
    correct_threshold: float = 0.5
    evaluation_samples: int = 4
    evaluation_scorer: str | None = None
    batch_tokens: int = 4096
    problems_per_part: int = 256
    seed: int = 0
    best_by: BestBy = "pass_at_1"
    patience: int | None = None
    keep_rounds: int = 1
    allow_change: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("rounds", "prompts_per_round", "top_k", "epochs", "evaluation_samples", "batch_tokens")
        for name in (*counts, "solutions_per_problem", "problems_per_part", "patience", "keep_rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be a finite number above 0")
        if self.importance_cap is not None and not 1.0 <= self.importance_cap < math.inf:
            raise ValueError(
                f"importance_cap is {self.importance_cap}; it must be null or a finite number of at least 1"
            )
        if self.best_by not in get_args(BestBy):
            raise ValueError(f"best_by is {self.best_by!r}; it must be one of {', '.join(get_args(BestBy))}")
        if not 0.0 < self.correct_threshold <= 1.0:
            raise ValueError(f"correct_threshold is {self.correct_threshold}; it must be above 0 and at most 1")
        if self.temperature == 0.0:
            raise ValueError("temperature is 0; RAFT chooses among samples that differ, so it must be above 0")
        check_step_style(self.style, "style")
        aggregator(self.aggregation)
        check_select(self.select, self.vote_eta)
        check_grading(self.grading, "grading")
        self._check_names()
        _ = self.sampling(0), self.evaluation_sampling(0)

    def _check_names(self) -> None:
        for name in (*SELECTORS, OWN_SELECTOR):
            if name in self.scorers:
                raise ValueError(f"scorers has the name {name!r}, which is the name of a selector without a model")
        known = [*self.scorers, *SELECTORS]
        if isinstance(self.selector, str) and self.selector not in known and "." not in self.selector:
            raise ValueError(
                f"selector is {self.selector!r}; it must be one of {', '.join(known)}: a name in scorers, such as "
                "scorers.er: runs/prm, or one of the selectors without a model; or the import path of a class"
                f"{did_you_mean(self.selector, known)}"
            )
        if self.evaluation_scorer is not None and self.evaluation_scorer not in self.scorers:
            raise ValueError(
                f"evaluation_scorer is {self.evaluation_scorer!r}; it must be null or a name in scorers, which has "
                f"{', '.join(self.scorers) or 'none'}"
            )

    @property
    def selector_name(self) -> str:
        """Name of the selector in :attr:`scorer_settings` or ``SELECTORS``."""
        is_named = isinstance(self.selector, str) and self.selector in (*self.scorers, *SELECTORS)
        return str(self.selector) if is_named else OWN_SELECTOR

    @property
    def scorer_settings(self) -> dict[str, Setting]:
        """The scorers, and with them a selector that is no name in them."""
        if self.selector_name != OWN_SELECTOR:
            return self.scorers
        own = self.selector if isinstance(self.selector, dict) else {"class_path": self.selector}
        return {**self.scorers, OWN_SELECTOR: own}

    @property
    def used_scorer(self) -> str | None:
        """Name of the scorer of evaluations, if there is one."""
        name = self.selector_name
        return self.evaluation_scorer or (name if name in self.scorer_settings else None)

    def round_learning_rate(self, number: int) -> float:
        """Learning rate of a round, counted from 1."""
        return self.learning_rate * (self.rounds - (number - 1)) / self.rounds

    def sampling(self, number: int) -> Sampling:
        """Sampling settings of solutions in a round, counted from 1."""
        return self._sampling(self.solutions_per_problem, self.top_p, f"round {number}")

    def evaluation_sampling(self, number: int) -> Sampling:
        """Sampling settings of held-out problems after a round: the policy's whole distribution."""
        return self._sampling(self.evaluation_samples, 1.0, f"evaluation {number}")

    def _sampling(self, n: int, top_p: float, purpose: str) -> Sampling:
        seed = int.from_bytes(hashlib.sha256(f"{self.seed} {purpose}".encode()).digest()[:7], "little")
        return Sampling(n, self.temperature, top_p, self.max_tokens, tuple(self.stop), seed)

    def slice_of(self, problems: list[Problem], number: int) -> list[Problem]:
        """The problems of a round, counted from 1: its own slice of all problems, in an order that the seed decides.

        Raises:
            ValueError: if there is none left for it.
        """
        shuffled = random.Random(f"problems {self.seed}").sample(problems, len(problems))
        if self.prompts_per_round is None:
            bounds = [len(problems) * part // self.rounds for part in (number - 1, number)]
        else:
            bounds = [self.prompts_per_round * part for part in (number - 1, number)]
        part = shuffled[bounds[0] : bounds[1]]
        if not part:
            raise ValueError(
                f"round {number} of {self.rounds} has no prompt: there are {len(problems)} problem(s), and "
                f"prompts_per_round is {self.prompts_per_round}. Give more problems, or a smaller prompts_per_round or "
                "number of rounds"
            )
        return part
