"""Settings of a policy that a scorer of steps guides, for ``erprm search`` and ``erprm serve``."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from erprm.engines.prompts import PromptFormat
from erprm.engines.settings import EngineSettings
from erprm.eta import Eta
from erprm.inherited_help import inherits_help
from erprm.metrics.choice import Select, check_select
from erprm.metrics.functional.aggregation import Aggregation, aggregator
from erprm.scoring import StepScorer, scorer_or_name
from erprm.search.cascade import Cascade
from erprm.search.protocol import Decoding
from erprm.steps import check_step_style

# After what a step has ended, for the styles that say it.
STEP_ENDS = {"lines": ("\n",), "math_shepherd": ("\n",), "paragraphs": ("\n\n",)}


@inherits_help
@dataclass
class GuidedSettings(EngineSettings):
    """A policy, what scores its steps, and how it is sampled from.

    Attributes:
        scorer: what scores steps: folder or hub id of a process reward model, or the URL of a server (read as
            ``erprm score`` does), or ``class_path`` and ``init_args`` of anything with ``score_steps``.
        cascade: a second, dearer scorer, which chooses among the best candidates of a search.
        calibration: file of ``erprm calibrate`` that turns the scorer's scores into probabilities, or ``auto`` for
            ``calibration.json`` in its folder; for a ``scorer`` without ``class_path``.
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
    """

    # As a dict a scorer of any annotations is made here; a parser would ask for those of the protocol.
    scorer: str | dict[str, Any] | StepScorer
    _: KW_ONLY
    cascade: Cascade | None = None
    calibration: str | None = None
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scorer = scorer_or_name(self.scorer, "scorer")
        if self.calibration is not None and not isinstance(self.scorer, str):
            raise ValueError("calibration is for a scorer by its name; give it in scorer.init_args, where it takes one")
        check_step_style(self.style, "style")
        if self.step_ends is None and self.style not in STEP_ENDS:
            raise ValueError(
                f"step_ends is needed with style {self.style!r}: strings after which a step may have ended, such as "
                f'["\\n"]; only {", ".join(STEP_ENDS)} have a default'
            )
        check_decoding(self.decoding)
        aggregator(self.aggregation)
        check_select(self.select, self.vote_eta)

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


def check_decoding(decoding: Decoding) -> None:
    """Refuses values that a search cannot sample with.

    Raises:
        ValueError: names the field.
    """
    for name in ("max_tokens", "max_step_tokens"):
        if getattr(decoding, name) < 1:
            raise ValueError(f"{name} is {getattr(decoding, name)}; it must be at least 1")
    if decoding.max_step_tokens > decoding.max_tokens:
        raise ValueError(
            f"max_step_tokens is {decoding.max_step_tokens}; it must be at most max_tokens ({decoding.max_tokens}), so "
            "give both"
        )
    if not 0.0 < decoding.temperature < math.inf:
        raise ValueError(
            f"temperature is {decoding.temperature}; it must be a finite number above 0, at which samples differ"
        )
    if not 0.0 < decoding.top_p <= 1.0:
        raise ValueError(f"top_p is {decoding.top_p}; it must be above 0 and at most 1")
    step_ends = decoding.step_ends
    if not step_ends or not all(step_ends):
        raise ValueError(f"step_ends is {list(step_ends)}; it must hold strings that are not empty")
    for stop in decoding.stop:
        if not stop:
            raise ValueError(f"stop is {list(decoding.stop)}; a stop string must not be empty")
        if any(step_end in stop for step_end in step_ends):
            raise ValueError(
                f"stop holds {stop!r}, which would never be seen: the policy pauses at step_ends={list(step_ends)}"
            )
