"""The reward function itself, as TRL and verl call it.

reward = ProcessReward("my-prm", step_style="lines")
GRPOTrainer(..., reward_funcs=reward)
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from erprm.metrics.functional.aggregation import Aggregation, aggregate_solutions, aggregator
from erprm.models import StepScorer
from erprm.reward_fn.completions import Span, completion_text, question_text, token_offsets, token_spans
from erprm.reward_fn.credit import CreditForm, check_credit_form, step_credit
from erprm.reward_fn.shared_model import SCORING, SharedModel
from erprm.scoring import checked_scores, refuse_nan
from erprm.steps import Solution, StepSplit, check_step_style, segment_steps

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUESTION_OF_VERL = "question"


@dataclass(frozen=True)
class StepRewards:
    """The steps of a completion and their rewards; without a step all lists are empty.

    Attributes:
        text: the completion.
        scores: what the model says of each step.
        rewards: what each step is credited with, see :func:`erprm.reward_fn.step_credit`.
        char_spans: start and stop of each step in ``text``.
        token_spans: first token and the one after the last of each step, in the policy's tokens of the completion (see
            :func:`erprm.reward_fn.completions.token_spans`); None if nothing was given to find them by.
    """

    text: str
    scores: list[float]
    rewards: list[float]
    char_spans: list[Span]
    token_spans: list[Span] | None = None

    def per_token(self, num_tokens: int) -> list[float]:
        """Each step's reward at its last token, 0 at all others: what token-level trainers take.

        Args:
            num_tokens: tokens of the completion, at least those of the spans.

        Raises:
            ValueError: if there are no token spans, or not so few tokens.
        """
        if self.token_spans is None:
            raise ValueError("step_rewards was given neither a tokenizer nor offsets, so the tokens are not known")
        needed = max((stop for _, stop in self.token_spans), default=0)
        if num_tokens < needed:
            raise ValueError(f"num_tokens is {num_tokens}; the steps end with token {needed}")
        rewards = [0.0] * num_tokens
        for (_, stop), reward in zip(self.token_spans, self.rewards, strict=True):
            rewards[max(stop - 1, 0)] += reward
        return rewards


class ProcessReward:
    """Splits completions into steps, scores all of them in one pass, and gives each completion its aggregated score.

    Instances that name the same model share it within a process; each process of a distributed run loads its own, onto
    its own device, and scores what it is called with. An instance can be called from threads and copied, and pickled if
    its model is given by name.

    A completion without a step (an empty one, or white space) counts as a single step of ``empty_score``. One that was
    cut off at the length limit is scored as it stands, its unfinished last step included.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | StepScorer,
        *,
        step_style: str = "lines",
        aggregation: Aggregation = "min",
        question_column: str | None = None,
        empty_score: float = 0.0,
        name: str = "process_reward",
        device: str | None = None,
        **settings: Any,
    ) -> None:
        """Checks all settings; weights are loaded when the first completion is scored.

        Args:
            model: folder or hub id of a process reward model, or any step scorer, which is used as it is.
            step_style: how completions are split into steps, see :func:`erprm.steps.segment_steps`.
            aggregation: score of a completion from those of its steps: ``min``, ``prod``, ``mean``, ``last`` or
                ``sum_logits``.
            question_column: column of the data set (with verl, key of ``extra_info``) that holds the question as the
                model knows it. By default the prompt, of a conversation the last message of the user; with verl
                ``question``.
            empty_score: step score that a completion without a step counts as.
            name: under which the trainer logs the reward.
            device: where a model given by name scores; by default the accelerator chosen by the process, else the CPU.
            settings: other arguments of :class:`erprm.models.AdaptedRewardModel`, such as ``adapter``, ``step_format``,
                ``dtype`` and ``score_max_tokens``.

        Raises:
            TypeError: if ``model`` is neither a name nor a scorer, or a scorer comes with settings of a model.
            ValueError: if a setting is out of range, or the model cannot be used, such as one whose step format cannot
                be told.
        """
        check_step_style(step_style, "step_style")
        aggregator(aggregation)
        self.step_style = step_style
        self.aggregation = aggregation
        self.question_column = question_column
        self.empty_score = empty_score
        self.scorer = _scorer(model, device, settings)
        self.__name__ = name

    def __deepcopy__(self, memo: dict[int, Any]) -> ProcessReward:
        """A copy that shares the model."""
        return copy.copy(self)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Rewards in the way of TRL's ``reward_funcs`` (TRL 1.13).

        Args:
            prompts: texts, or conversations as lists of messages.
            completions: one a prompt: texts, or lists of messages, of which those of the assistant are scored.
            log_metric: called with the mean number of steps, and with the share of completions without a step.
            columns: the other columns of the data set; besides, ignored, what else TRL hands over.

        Returns:
            One reward a completion.

        Raises:
            TypeError: if a prompt or completion is neither text nor messages.
            ValueError: if there are not as many completions as prompts, the question's column is missing, or the scorer
                returns another number of scores than there are steps.
        """
        texts = self._texts(prompts, completions)
        splits, step_scores = self._score(self._questions(prompts, columns), texts)
        if log_metric is not None and texts:
            counts = [len(split.spans) for split in splits]
            log_metric(f"{self.__name__}/steps", sum(counts) / len(counts))
            log_metric(f"{self.__name__}/without_steps", counts.count(0) / len(counts))
        return self._aggregated(step_scores)

    def step_rewards(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        form: CreditForm = "sum",
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        offsets: Sequence[Sequence[Span]] | None = None,
        **columns: Any,
    ) -> list[StepRewards]:
        """Rewards of single steps, with their places.

        Args:
            prompts: as in a call.
            completions: as in a call.
            form: ``sum``, ``min`` or ``difference``, see :func:`erprm.reward_fn.step_credit`.
            tokenizer: the policy's, to find the steps in its tokens by.
            completion_ids: the tokens that the policy wrote, for each completion; by default what ``tokenizer`` makes
                of the text, which need not be the same.
            offsets: instead, where in its text each token of each completion stands.
            columns: as in a call.

        Returns:
            For each completion its steps.

        Raises:
            TypeError: as a call.
            ValueError: as a call, or if there is no such form, or the tokens are not those of the completions.
        """
        check_credit_form(form)
        texts = self._texts(prompts, completions)
        for argument, given in (("completion_ids", completion_ids), ("offsets", offsets)):
            if given is not None and len(given) != len(texts):
                raise ValueError(f"{argument} has {len(given)} entries for {len(texts)} completions")
        splits, step_scores = self._score(self._questions(prompts, columns), texts)
        results = []
        for i, (split, scores) in enumerate(zip(splits, step_scores, strict=True)):
            places = offsets[i] if offsets is not None else None
            if places is None and tokenizer is not None:
                ids = (
                    tokenizer.encode(split.text, add_special_tokens=False)
                    if completion_ids is None
                    else completion_ids[i]
                )
                places = token_offsets(ids, split.text, tokenizer)
            results.append(
                StepRewards(
                    text=split.text,
                    scores=scores.tolist(),
                    rewards=step_credit(scores.tolist(), form),
                    char_spans=list(split.spans),
                    token_spans=None if places is None else token_spans(split.spans, places),
                )
            )
        return results

    def compute_score(
        self,
        data_source: Any,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> float:
        """The reward of one solution, in the way of verl's ``custom_reward_function``.

        Args:
            data_source: ignored.
            solution_str: the solution.
            ground_truth: ignored.
            extra_info: holds the question under ``question_column``, by default ``question``.

        Returns:
            The reward.

        Raises:
            TypeError: if the solution is no text.
            ValueError: if the question is missing, or the scorer returns another number of scores than there are steps.
        """
        return self.compute_scores([data_source], [solution_str], [ground_truth], [extra_info or {}])[0]

    def compute_scores(
        self,
        data_sources: Sequence[Any],
        solution_strs: Sequence[str],
        ground_truths: Sequence[Any],
        extra_infos: Sequence[Mapping[str, Any]],
        **_: Any,
    ) -> list[float]:
        """The same for many solutions at once, for verl's reward manager ``batch``."""
        questions = []
        column = self.question_column or _QUESTION_OF_VERL
        for info in extra_infos:
            if column not in info:
                raise ValueError(f"extra_info has no {column!r}, the question; it has {', '.join(map(repr, info))}")
            questions.append(question_text(info[column], f"extra_info[{column!r}]"))
        return self._aggregated(self._score(questions, self._texts(questions, solution_strs))[1])

    def _texts(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[str]:
        if len(completions) != len(prompts):
            raise ValueError(f"completions has {len(completions)} entries for {len(prompts)} prompts")
        return [completion_text(completion, f"completions[{i}]") for i, completion in enumerate(completions)]

    def _questions(self, prompts: Sequence[Any], columns: Mapping[str, Any]) -> list[str]:
        if self.question_column is None:
            return [question_text(prompt, f"prompts[{i}]") for i, prompt in enumerate(prompts)]
        if self.question_column not in columns:
            raise ValueError(
                f"question_column is {self.question_column!r}; the data set has {', '.join(map(repr, columns))}"
            )
        questions = columns[self.question_column]
        return [question_text(question, f"{self.question_column}[{i}]") for i, question in enumerate(questions)]

    def _score(self, questions: Sequence[str], texts: Sequence[str]) -> tuple[list[StepSplit], list[Tensor]]:
        """The steps of each text, and their scores; empty where there is no step."""
        splits = [segment_steps(text, self.step_style) for text in texts]
        solutions = [
            Solution(question, split.steps) for question, split in zip(questions, splits, strict=True) if split.spans
        ]
        # Of several threads, one at a time; a served model takes them all.
        with SCORING if isinstance(self.scorer, nn.Module) else nullcontext():
            scores = self.scorer.score_steps(solutions) if solutions else []
        checked = checked_scores(scores, solutions)
        refuse_nan(checked, solutions)
        rest = iter(checked)
        return splits, [next(rest) if split.spans else torch.empty(0) for split in splits]

    def _aggregated(self, step_scores: Sequence[Tensor]) -> list[float]:
        if not step_scores:
            return []
        counted = [scores if len(scores) else torch.tensor([self.empty_score]) for scores in step_scores]
        lengths_M = torch.tensor([len(scores) for scores in counted])
        rewards: list[float] = aggregate_solutions(torch.cat(counted), lengths_M, self.aggregation).tolist()
        return rewards


def _scorer(model: str | os.PathLike[str] | StepScorer, device: str | None, settings: Mapping[str, Any]) -> StepScorer:
    if isinstance(model, str | os.PathLike):
        shared = SharedModel(os.fspath(model), settings, device)
        shared.check()
        return shared
    if not isinstance(model, StepScorer):
        raise TypeError(
            f"model is a {type(model).__name__}; it must be a folder, a hub id, or have score_steps(solutions)"
        )
    if given := [*settings, *(["device"] if device is not None else [])]:
        raise TypeError(f"{', '.join(given)}: only for a model given by its folder or hub id")
    if isinstance(model, nn.Module):
        model.eval()
    return model
