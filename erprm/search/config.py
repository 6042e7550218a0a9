"""The settings of ``erprm search``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from erprm.engines.registry import engine_content
from erprm.grading import KINDS, Kind, check_grading
from erprm.inherited_help import inherits_help
from erprm.runs.identity import described, setting_content
from erprm.search.methods import DEFAULT_METHODS, SearchSetting, search_of
from erprm.search.protocol import Search
from erprm.search.settings import GuidedSettings

__all__ = ["SearchConfig"]


@inherits_help
@dataclass
class SearchConfig(GuidedSettings):
    """Searches for solutions with a policy and a scorer of steps, each method under the same budgets of tokens.

    Attributes:
        output_dir: folder of the results; the same settings again continue a run that was interrupted.
        source: where problems come from; a problem without an answer is searched for, but not graded.
        path: file or hub id of the problems; by default the source's own hub id.
        split: split of the problems.
        limit: at most this many problems.
        methods: searches by the names that they get in the results: ``best_of_n``, ``beam``, ``step_rejection``,
            ``particles``, ``dvts``, ``adaptive_n``, ``look_ahead``, the import path of a class, or ``class_path`` and
            ``init_args``; by default the first three.
        budgets: tokens that the policy may generate for one problem; each method is run with each.
        seeds: each method is run with each of these seeds of the samples.
        grading: how answers are graded: ``gsm8k`` (the final answer as a number), ``math`` (as an expression), ``auto``
            (as the gold is written), the import path of a function of prediction and gold that returns a reward in
            [0, 1], or a ``class_path`` with ``init_args``.
        correct_threshold: reward from which an answer counts as correct.
        problems_per_part: problems that are searched for together: what a kill can cost.
    """

    output_dir: str
    source: Literal["gsm8k", "math", "jsonl"] = "gsm8k"
    path: str | None = None
    split: str = "test"
    limit: int | None = None
    methods: dict[str, SearchSetting] = field(default_factory=dict)
    budgets: list[int] = field(default_factory=lambda: [2048])
    seeds: list[int] = field(default_factory=lambda: [0])
    grading: str | dict[str, Any] = "auto"
    correct_threshold: float = 0.5
    problems_per_part: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.problems_per_part < 1:
            raise ValueError(f"problems_per_part is {self.problems_per_part}; it must be at least 1")
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
        if not 0.0 < self.correct_threshold <= 1.0:
            raise ValueError(f"correct_threshold is {self.correct_threshold}; it must be above 0 and at most 1")
        check_grading(self.grading, "grading")

    @property
    def searches(self) -> dict[str, Search]:
        """The methods, made."""
        return {name: search_of(setting, f"methods.{name}") for name, setting in self.methods.items()}

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
