"""Selectors, which judge solutions: a process reward model, the gold answers, or chance.

A selector gives every candidate a score; :func:`keep_best` keeps the best. The selectors ``er``,
``soft``, ``hard`` and ``outcome`` are one class with different reward models.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from erprm.errors import InputError
from erprm.grading import BatchGrader, Kind, OutcomeGrader, outcome_rewards
from erprm.lookup import class_of, made
from erprm.metrics.functional.aggregation import Aggregation, aggregate_steps
from erprm.models.adapters.choice import choose_adapter
from erprm.models.attention.masks import AttentionError
from erprm.models.calibration import AUTO
from erprm.models.scorers import is_url
from erprm.models.scorers.opening import check_step_formats, named_scorer, opened_scorer
from erprm.raft.config import OWN_SELECTOR
from erprm.raft.solutions import SampledProblem
from erprm.runs.identity import CALIBRATION_FILE, content_hash, file_sha256, model_key, setting_content
from erprm.scoring import ScorerError, StepScorer, checked_scores
from erprm.steps import Solution, split_steps


def keep_best(
    scores: Sequence[float],
    texts: Sequence[str],
    finished: Sequence[bool],
    *,
    top_k: int = 1,
    threshold: float | None = None,
    deduplicate: bool = True,
) -> list[int]:
    """The places of the best solutions of a problem, the best first; of equally good ones the one sampled first.

    Args:
        scores: of each solution; one of ``-inf`` is not kept.
        texts: of each solution.
        finished: whether it ended; one that was cut off is not kept, since a policy would learn to break off.
        top_k: so many at most.
        threshold: keep only those that score at least this.
        deduplicate: keep equal texts once.

    Example:
        >>> keep_best([0.2, 0.9, 0.9, 0.8], ["a", "b", "b", "c"], [True] * 4, top_k=2)
        [1, 3]
    """
    kept: list[int] = []
    seen: set[str] = set()
    least = -math.inf if threshold is None else threshold
    for place in sorted(range(len(scores)), key=lambda place: -scores[place]):
        usable = finished[place] and texts[place].strip() and scores[place] > -math.inf and scores[place] >= least
        if usable and not (deduplicate and texts[place] in seen):
            kept.append(place)
            seen.add(texts[place])
    return kept[:top_k]


log = logging.getLogger(__name__)

NEVER = -math.inf
"""The score of a candidate that is not to be kept, however few there are."""


@runtime_checkable
class Selector(Protocol):
    """Scores candidates: the higher, the better."""

    def scores(self, problems: Sequence[SampledProblem]) -> list[list[float]]:
        """A score for each candidate of each problem; ``-inf`` for one that is not to be kept."""
        ...


class SelectionError(InputError):
    """There is nothing to choose from, or the candidates are not what the reward model reads."""


def check_steps(texts: Sequence[str], solutions: Sequence[Solution], style: str) -> None:
    """Refuses solutions of which some have lines but none has two steps: the style cannot be the policy's.

    Raises:
        SelectionError: showing one of them.
    """
    if any(len(solution.steps) > 1 for solution in solutions):
        return
    several_lines = next((text for text in texts if "\n" in text.strip()), None)
    if several_lines is not None:
        raise SelectionError(
            f"style is {style!r}, in which none of {len(solutions)} solution(s) has more than one step, though they "
            "have several lines: the policy writes its steps in another format than the reward model is to read. A "
            f"solution begins {several_lines[:120]!r}; choose the style in which the policy writes"
        )


class RewardModelSelector:
    """Scores a candidate by a process reward model, its steps' scores aggregated.

    Equal texts of a question are scored once. A candidate that the model cannot read (too long for it, for one) gets
    ``-inf``.
    """

    def __init__(self, scorer: StepScorer, style: str, aggregation: Aggregation) -> None:
        """Takes the model, how candidates are split into steps, and how the scores of the steps become one."""
        self._scorer = scorer
        self._style = style
        self._aggregation: Aggregation = aggregation

    def scores(self, problems: Sequence[SampledProblem]) -> list[list[float]]:
        """See :class:`Selector`.

        Raises:
            SelectionError: if candidates have lines but none of them has two steps, so that the style cannot be the
                policy's, or the model can read none of them; says why.
            ScorerError: if the model does not return one score for each step, and a number.
        """
        texts = {(each.problem.question, text): NEVER for each in problems for text in each.candidates}
        solutions = {key: Solution(key[0], split_steps(key[1], self._style)) for key in texts}
        readable = {key: solution for key, solution in solutions.items() if solution.steps}
        check_steps([text for _, text in readable], list(readable.values()), self._style)
        for key, scores in zip(readable, self._step_scores(list(readable.values())), strict=True):
            if scores is not None and scores.isnan().any():
                raise ScorerError(f"score_steps returned NaN for a step of a solution of {key[0][:60]!r}")
            if scores is not None:
                texts[key] = aggregate_steps(scores, self._aggregation).item()
        return [[texts[each.problem.question, text] for text in each.candidates] for each in problems]

    def _step_scores(self, solutions: list[Solution]) -> list[Tensor | None]:
        if not solutions:
            return []
        try:
            found = self._scorer.score_steps(solutions)
        except (AttentionError, ScorerError):
            raise  # No fault of a solution.
        except ValueError as error:
            log.warning("a solution cannot be scored, so they are scored one by one: %s", error)
            return self._one_by_one(solutions)
        return list(checked_scores(found, solutions))

    def _one_by_one(self, solutions: list[Solution]) -> list[Tensor | None]:
        scores: list[Tensor | None] = []
        reason: ValueError | None = None
        for solution in solutions:
            try:
                found = self._scorer.score_steps([solution])
            except ValueError as error:
                scores.append(None)
                reason = reason or error
            else:
                scores += checked_scores(found, [solution])
        if all(each is None for each in scores):
            raise SelectionError(f"none of {len(solutions)} solution(s) can be scored; {reason}") from reason
        return scores


class RandomSelector:
    """Chance: what fine-tuning on a policy's own solutions does without any judgement of them."""

    def __init__(self, seed: int) -> None:
        """Takes the seed; a candidate's score also depends on its problem and place."""
        self._seed = seed

    def scores(self, problems: Sequence[SampledProblem]) -> list[list[float]]:
        """See :class:`Selector`; numbers in [0, 1)."""
        return [
            [random.Random(f"{self._seed} {each.problem.problem_id} {place}").random() for place in range(count)]
            for each in problems
            for count in [len(each.candidates)]
        ]


class OracleSelector:
    """The gold answers: only right candidates are kept, those with the highest outcome reward first."""

    def __init__(self, grader: OutcomeGrader | BatchGrader, kind: Kind, correct_threshold: float) -> None:
        """Takes a running grader, how it reads answers, and the reward from which an outcome counts as correct."""
        self._grader = grader
        self._kind: Kind = kind
        self._correct_threshold = correct_threshold

    def scores(self, problems: Sequence[SampledProblem]) -> list[list[float]]:
        """See :class:`Selector`; outcome rewards."""
        return [
            [reward if reward >= self._correct_threshold else NEVER for reward in rewards]
            for rewards in outcomes(self._grader, problems, self._kind)
        ]


def outcomes(grader: OutcomeGrader | BatchGrader, problems: Sequence[SampledProblem], kind: Kind) -> list[list[float]]:
    """Outcome rewards of every candidate of every problem; equal texts of a problem are graded once."""

    def texts(each: SampledProblem) -> list[tuple[str, str, bool]]:
        ends = zip(each.candidates, each.finished, strict=True)
        return [(text, each.problem.answer, not finished) for text, finished in ends]

    different = list(dict.fromkeys(text for each in problems for text in texts(each)))
    pairs, cut_off = [text[:2] for text in different], [text[2] for text in different]
    rewards = dict(zip(different, outcome_rewards(grader, pairs, kind, "grading", cut_off), strict=True))
    return [[rewards[text] for text in texts(each)] for each in problems]


ScorerSetting = str | dict[str, Any]
_ACCEPTED = "a folder, a hub id, a URL, or class_path with init_args of a class with score_steps or scores"


def scorer_config_key(name: str) -> str:
    """The configuration key of a scorer, for messages."""
    return name if name == OWN_SELECTOR else f"scorers.{name}"


@contextmanager
def open_scorer(setting: ScorerSetting, key: str, device: torch.device) -> Iterator[StepScorer | Selector]:
    """Opens the scorer that a setting names, on a device if it is a model; closes it afterwards if it can.

    Args:
        setting: folder, hub id or URL (see docs/serving.md) of a process reward model, or ``class_path`` with
            ``init_args``.
        key: the configuration key, for messages.
        device: where a model goes.

    Raises:
        ValueError: if there is no such thing, or it scores neither steps nor candidates.
    """
    with opened_scorer(_make(setting, key), device) as scorer:
        yield scorer


def _make(setting: ScorerSetting, key: str) -> StepScorer | Selector:
    """The scorer, a model without its weights."""
    if isinstance(setting, str):
        return named_scorer(setting)
    scorer = made(setting, key, _ACCEPTED)
    if not isinstance(scorer, StepScorer | Selector):
        raise ValueError(f"{key}: {setting['class_path']!r} has neither score_steps(solutions) nor scores(problems)")
    return scorer


def check_scorer(setting: ScorerSetting, key: str, policy: str) -> None:
    """Finds what a setting names, without making it, and compares its step format with the policy's where it is known.

    Raises:
        ValueError: if it names nothing, or the formats differ.
    """
    if isinstance(setting, str) and is_url(setting):
        return  # Its server is asked when something is to be scored.
    if isinstance(setting, str):
        check_step_formats(policy, choose_adapter(setting).step_format, key)
    else:
        class_of(setting, key, _ACCEPTED)


def scorer_key(setting: ScorerSetting) -> str:
    """Changes with the setting, and with the files of the folders and the calibration that it names."""
    if isinstance(setting, str):
        return model_key(setting)
    arguments = setting.get("init_args") or {}
    folders = {value: model_key(value) for value in _texts(arguments) if Path(value).is_dir()}
    content = [setting_content(setting, "scorers"), folders]
    if calibration := arguments.get("calibration"):
        files = [Path(folder, CALIBRATION_FILE) for folder in folders] if calibration == AUTO else [Path(calibration)]
        content.append([file_sha256(file) for file in files if file.is_file()])
    return content_hash(content)


def _texts(value: object) -> Iterator[str]:
    """Every text in the values of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for each in value.values() for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))
