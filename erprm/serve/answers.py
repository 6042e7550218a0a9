"""Answers as OpenAI's clients read them, with what is beyond OpenAI's protocol under the key ``erprm``."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from erprm.search.protocol import PartialSolution
from erprm.serve.requests import Asked, ToScore
from erprm.serve.solving import Answer, StepScores
from erprm.steps import segment_steps

Json = dict[str, Any]


class Completion:
    """An answer in OpenAI's form: as one JSON value, or in parts.

    Args:
        asked: the request.
        answer: what was found.
    """

    def __init__(self, asked: Asked, answer: Answer) -> None:
        self._asked, self._answer = asked, answer
        self._is_chat = asked.prompt is None
        self._candidates = [answer.result.candidates[place] for place in answer.order]
        prefix = "chatcmpl" if self._is_chat else "cmpl"
        self._head: Json = {"id": f"{prefix}-{secrets.token_hex(12)}", "created": int(time.time())}

    def whole(self) -> Json:
        """The answer of a request without ``stream``."""
        name = "chat.completion" if self._is_chat else "text_completion"
        choices = [
            self._choice(index, {"message": {"role": "assistant", "content": each.text}}, {"text": each.text}, each.end)
            for index, each in enumerate(self._candidates[: self._asked.n])
        ]
        return {**self._of(name, choices), "usage": self._usage(), "erprm": self._extension()}

    def parts(self) -> Iterator[Json]:
        """The answer of a request with ``stream``, a part a step; the last part has ``erprm``."""
        name = "chat.completion.chunk" if self._is_chat else "text_completion"
        shown = self._candidates[: self._asked.n]
        for index, each in enumerate(shown):
            if self._is_chat:
                yield self._of(name, [self._choice(index, {"delta": {"role": "assistant", "content": ""}}, {}, None)])
            for piece in _pieces(each.text, self._asked.decoding.style):
                yield self._of(name, [self._choice(index, {"delta": {"content": piece}}, {"text": piece}, None)])
            last = self._of(name, [self._choice(index, {"delta": {}}, {"text": ""}, each.end)])
            yield last if index < len(shown) - 1 else {**last, "erprm": self._extension()}
        if self._asked.include_usage:
            yield {**self._of(name, []), "usage": self._usage()}

    def _of(self, name: str, choices: list[Json]) -> Json:
        return {**self._head, "object": name, "model": self._asked.model, "choices": choices}

    def _choice(self, index: int, chat: Json, text: Json, end: str | None) -> Json:
        content = chat if self._is_chat else text
        return {"index": index, **content, "logprobs": None, "finish_reason": end}

    def _usage(self) -> Json:
        prompt, completion = self._answer.prompt_tokens, self._answer.result.tokens
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _extension(self) -> Json:
        asked, result = self._asked, self._answer.result
        style = asked.decoding.style
        return {
            "question": asked.question,
            "strategy": asked.strategy.text,
            "select": asked.strategy.options.select,
            "seed": self._answer.seed,
            "budget": asked.budget,
            "tokens": result.tokens,
            "scored": result.scored,
            "scorer_tokens": result.read.tokens,
            "scorer_flops": result.read.flops,
            **({} if result.decided is None else {"cascade": asdict(result.decided)}),
            "candidates": [_candidate(each, style) for each in self._candidates],
        }


def scores_json(asked: ToScore, scores: list[StepScores]) -> list[Json]:
    """The answers of ``/score``."""
    return [
        {
            "score": None if each.score is None else _finite(each.score),
            "step_scores": [_finite(score) for score in each.of_steps],
            "step_spans": spans,
        }
        for each, spans in zip(scores, asked.spans, strict=True)
    ]


def _candidate(candidate: PartialSolution, style: str) -> Json:
    return {
        "text": candidate.text,
        "score": _finite(candidate.score),
        "step_scores": [_finite(score) for score in candidate.step_scores],
        "step_spans": list(segment_steps(candidate.text, style).spans),
        "finish_reason": candidate.end,
    }


def _pieces(text: str, style: str) -> list[str]:
    """The steps of a text, each with what stands behind it; together they are the text."""
    starts = [start for start, _ in segment_steps(text, style).spans]
    edges = [0, *starts[1:], len(text)]
    return [text[start:stop] for start, stop in pairwise(edges) if stop > start]


def _finite(score: float) -> float | None:
    """A score as JSON has it: infinite ones are null, as that of a candidate without a step."""
    return score if math.isfinite(score) else None
