"""The settings of ``erprm search``."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from erprm.engines.prompts import PromptFormat
from erprm.engines.registry import engine_content
from erprm.engines.settings import EngineSettings
from erprm.eta import Eta
from erprm.grading import KINDS, Kind, check_grading
from erprm.inherited_help import inherits_help
from erprm.metrics.choice import Select, check_select
from erprm.metrics.functional.aggregation import Aggregation, aggregator
from erprm.runs.identity import described, setting_content
from erprm.scoring import StepScorer
from erprm.search.methods import DEFAULT_METHODS, SearchSetting, search_of
from erprm.search.protocol import Decoding, Search
from erprm.steps import check_step_style

# After what a step has ended, for the styles that say it.
STEP_ENDS = {"lines": ("\n",), "math_shepherd": ("\n",), "paragraphs": ("\n\n",)}


@inherits_help
@dataclass
class SearchConfig(EngineSettings):
    """Searches for solutions with a policy and a scorer of steps, each method under the same budgets of tokens.

    Attributes:
        scorer: what scores steps: folder or hub id of a process reward model, or the URL of a server (read as
            ``erprm score`` does), or ``class_path`` and ``init_args`` of anything with ``score_steps``.
        output_dir: folder of the results; the same settings again continue a run that was interrupted.
        source: where problems come from; a problem without an answer is searched for, but not graded.
        path: file or hub id of the problems; by default the source's own hub id.
        split: split of the problems.
        limit: at most this many problems.
        methods: searches by the names that they get in the results: ``best_of_n``, ``beam``, ``step_rejection``,
            ``particles``, ``dvts``, ``adaptive_n``, the import path of a class, or ``class_path`` and ``init_args``; by
            default the first three.
        budgets: tokens that the policy may generate for one problem; each method is run with each.
        seeds: each method is run with each of these seeds of the samples.
        device: ``auto`` (a GPU if there is one) or a torch device, for the policy and for a scorer that is a model.
        dtype: ``auto`` or the name of a torch dtype, of the policy.
        prompt: how a question becomes a prompt.
        style: how the steps of a solution are separated; that of the scorer's training.
        step_ends: strings after which a step may have ended, where the policy pauses and the scorer is asked; by
            default a line break for ``lines`` and ``math_shepherd``, two for ``paragraphs``.
        aggregation: score of a solution, and of a part of one, from those of its steps.
        select: which of the candidates that a search returns is the answer: the ``best`` scored, or the best of those
            with the answer that wins a ``majority``, ``weighted_vote`` or ``entropic_vote``.
        vote_eta: eta of the entropic vote; by default 3 over the spread of the scores of the candidates.
        temperature: temperature of the samples.
        top_p: mass of most likely tokens to sample from.
        max_tokens: the most tokens of a solution.
        max_step_tokens: the most tokens of a step.
        stop: strings that end a solution.
        grading: how answers are graded: ``gsm8k`` (the final answer as a number), ``math`` (as an expression), ``auto``
            (as the gold is written), the import path of a function of prediction and gold that returns a reward in
            [0, 1], or a ``class_path`` with ``init_args``.
        correct_threshold: reward from which an answer counts as correct.
        problems_per_part: problems that are searched for together: what a kill can cost.
    """

    scorer: str | StepScorer
    output_dir: str
    source: Literal["gsm8k", "math", "jsonl"] = "gsm8k"
    path: str | None = None
    split: str = "test"
    limit: int | None = None
    methods: dict[str, SearchSetting] = field(default_factory=dict)
    budgets: list[int] = field(default_factory=lambda: [2048])
    seeds: list[int] = field(default_factory=lambda: [0])
    prompt: PromptFormat = field(default_factory=PromptFormat)
    style: str = "lines"
    step_ends: list[str] | None = None
    aggregation: Aggregation = "min"
    select: Select = "best"
    vote_eta: Eta | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    max_step_tokens: int = 128
    stop: list[str] = field(default_factory=list)
    grading: str | dict[str, Any] = "auto"
    correct_threshold: float = 0.5
    problems_per_part: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_tokens", "max_step_tokens", "problems_per_part"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not isinstance(self.scorer, str | StepScorer):
            raise ValueError(f"scorer needs score_steps(solutions); {type(self.scorer).__name__} has none")
        named = self.methods or DEFAULT_METHODS
        self.methods = {name: search_of(setting, f"methods.{name}") for name, setting in named.items()}
        for name in ("budgets", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; it must hold at least one")
        if min(self.budgets) < self.max_tokens:
            raise ValueError(
                f"budgets holds {min(self.budgets)}; a budget must be at least max_tokens ({self.max_tokens}), which "
                "one solution may take"
            )
        if self.max_step_tokens > self.max_tokens:
            raise ValueError(
                f"max_step_tokens is {self.max_step_tokens}; it must be at most max_tokens ({self.max_tokens})"
            )
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature is {self.temperature}; it must be a finite number above 0, at which samples differ"
            )
        check_step_style(self.style, "style")
        aggregator(self.aggregation)
        check_select(self.select, self.vote_eta)
        self._check_step_ends()
        if not 0.0 < self.correct_threshold <= 1.0:
            raise ValueError(f"correct_threshold is {self.correct_threshold}; it must be above 0 and at most 1")
        check_grading(self.grading, "grading")

    def _check_step_ends(self) -> None:
        if self.step_ends is None and self.style not in STEP_ENDS:
            raise ValueError(
                f"step_ends is needed with style {self.style!r}: strings after which a step may have ended, such as "
                f'["\\n"]; only {", ".join(STEP_ENDS)} have a default'
            )
        step_ends = self.decoding.step_ends
        if not step_ends or not all(step_ends):
            raise ValueError(f"step_ends is {list(step_ends)}; it must hold strings that are not empty")
        for stop in self.stop:
            if any(step_end in stop for step_end in step_ends):
                raise ValueError(
                    f"stop holds {stop!r}, which would never be seen: the policy pauses at step_ends={list(step_ends)}"
                )

    @property
    def searches(self) -> dict[str, Search]:
        """The methods, made."""
        return {name: search_of(setting, f"methods.{name}") for name, setting in self.methods.items()}

    @property
    def decoding(self) -> Decoding:
        """Settings for sampling from the policy."""
        step_ends = STEP_ENDS[self.style] if self.step_ends is None else tuple(self.step_ends)
        return Decoding(
            self.prompt,
            self.style,
            step_ends,
            tuple(self.stop),
            self.temperature,
            self.top_p,
            self.max_tokens,
            self.max_step_tokens,
        )

    @property
    def grading_kind(self) -> Kind:
        """Settings for reading and comparing final answers, unless the user's own grader does it."""
        return next((kind for kind in KINDS if kind == self.grading), "auto")

    def content_settings(self) -> dict[str, Any]:
        """The settings that determine the results, but for the weights, as JSON values."""
        grading = self.grading
        if not isinstance(grading, str):
            grading = json.dumps(setting_content(grading, "grading"), sort_keys=True)
        return {
            "decoding": asdict(self.decoding),
            "methods": {name: described(search, f"methods.{name}") for name, search in self.searches.items()},
            "budgets": self.budgets,
            "seeds": self.seeds,
            "aggregation": self.aggregation,
            "grading": grading,
            "correct_threshold": self.correct_threshold,
            "dtype": self.dtype,
            "problems_per_part": self.problems_per_part,
            # Runs that began before there were votes go on.
            **({} if self.select == "best" else {"select": self.select, "vote_eta": self.vote_eta}),
            **engine_content(self),
        }
