"""Bodies of requests, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

from erprm.engines.prompts import PromptFormat
from erprm.errors import InputError
from erprm.lookup import did_you_mean
from erprm.reward_fn.completions import message_text
from erprm.search.protocol import Decoding
from erprm.search.settings import check_decoding
from erprm.serve.fields import FieldError, checked_fields, shown, takes
from erprm.serve.refusals import RefusedError
from erprm.serve.strategy import Options, Searches, Strategy, read_strategy
from erprm.steps import Solution, segment_steps
from erprm.steps.spans import Span

Read = TypeVar("Read")

# What asks for nothing that the server does not do anyway; clients send it unasked.
_WITHOUT_EFFECT: dict[str, Any] = {
    "best_of": 1,
    "echo": False,
    "frequency_penalty": 0,
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "store": False,
    "suffix": "",
    "tool_choice": "none",
    "tools": [],
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Terms:
    """The terms on which requests are answered.

    Attributes:
        name: the policy's name in requests.
        prompt: how the last message becomes a prompt.
        decoding: how the policy is sampled from where a request does not say; its ``max_tokens`` is also the most that
            a request may ask for.
        strategy: how a question is answered where a request does not say.
        options: of strategies in requests, where these do not say.
        searches: searches that requests may name.
        budget: tokens for a question where neither the strategy nor the request says.
        max_budget: the most tokens that a request may ask for.
    """

    name: str
    prompt: PromptFormat
    decoding: Decoding
    strategy: Strategy
    options: Options
    searches: Searches
    budget: int
    max_budget: int


@dataclass(frozen=True)
class Asked:
    """A question to answer.

    Attributes:
        model: what the request calls the model.
        question: the question, for the scorer.
        before: messages before it, as role and content.
        prompt: the policy's whole prompt; None if it is made of the messages.
        strategy: how to answer.
        budget: tokens that the policy may generate.
        decoding: how it is sampled from.
        seed: of the samples; None for any.
        n: candidates to return.
        stream: send the answer in parts.
        include_usage: with the numbers of tokens behind them.
    """

    model: str
    question: str
    before: tuple[tuple[str, str], ...]
    prompt: str | None
    strategy: Strategy
    budget: int
    decoding: Decoding
    seed: int | None
    n: int
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class ToScore:
    """Solutions to score, each with the places of its steps; one without a step is None.

    Attributes:
        solutions: questions with steps.
        spans: start and stop of each step in the text of the solution.
    """

    solutions: list[Solution | None]
    spans: list[list[Span]]


@dataclass(frozen=True, kw_only=True)
class _Body:
    """What both kinds of generation take; the last two are not looked at."""

    model: str
    n: int = 1
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    metadata: Any = None


@dataclass(frozen=True, kw_only=True)
class _ChatBody(_Body):
    messages: list[Any]
    max_completion_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class _CompletionBody(_Body):
    prompt: str | list[str]


@dataclass(frozen=True, kw_only=True)
class _ScoreBody:
    question: str
    solution: str | None = None
    steps: list[str] | None = None


def read_chat(body: Any, terms: Terms) -> Asked:
    """Reads the body of ``/v1/chat/completions``: the last message is the question.

    Raises:
        RefusedError: with status 400, or 404 for a model that is not served; names the field.
    """
    return _refusing(lambda: _chat(_ChatBody(**_fields(_ChatBody, body)), terms))


def read_completion(body: Any, terms: Terms) -> Asked:
    """Reads the body of ``/v1/completions``: the prompt, which the policy gets as it is, is the question.

    Raises:
        RefusedError: with status 400, or 404 for a model that is not served; names the field.
    """
    return _refusing(lambda: _completion(_CompletionBody(**_fields(_CompletionBody, body)), terms))


def read_scoring(body: Any, style: str) -> ToScore:
    """Reads the body of ``/score``: ``question`` with either ``solution`` or ``steps``, or a list of such objects.

    Args:
        body: values of JSON.
        style: how a solution is split into steps.

    Raises:
        RefusedError: with status 400; names the field.
    """

    def read() -> ToScore:
        bodies = body if isinstance(body, list) else [body]
        found = [_solution(_ScoreBody(**_fields(_ScoreBody, each)), style) for each in bodies]
        return ToScore([solution for solution, _ in found], [spans for _, spans in found])

    return _refusing(read)


def _refusing(read: Callable[[], Read]) -> Read:
    try:
        return read()
    except FieldError as error:
        raise RefusedError(400, str(error), field=error.field) from error
    except (TypeError, ValueError) as error:
        raise RefusedError(400, str(error)) from error


def _fields(cls: type[Any], body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InputError(f"the body is {shown(body)}; it must be an object")
    given = {name: value for name, value in body.items() if value is not None and not _is_without_effect(name, value)}
    return checked_fields(cls, given)


def _is_without_effect(name: str, value: Any) -> bool:
    neutral = _WITHOUT_EFFECT.get(name)
    return neutral is not None and isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)


def _chat(body: _ChatBody, terms: Terms) -> Asked:
    *before, (role, question) = _turns(body.messages)
    if role != "user":
        raise FieldError("messages", f"the last of messages is of the role {role!r}; it must be the user's question")
    if before and not terms.prompt.chat:
        raise FieldError(
            "messages",
            f"messages has {len(before)} before the question, the first of the role {before[0][0]!r}; this policy has "
            "no chat template in use (prompt.chat is false), and takes one question alone",
        )
    if terms.prompt.system is not None and not any(role == "system" for role, _ in before):
        before.insert(0, ("system", terms.prompt.system))
    limits = (limit for limit in (body.max_completion_tokens, body.max_tokens) if limit is not None)
    return _asked(body, terms, question, next(limits, None), tuple(before))


def _turns(messages: Sequence[Any]) -> list[tuple[str, str]]:
    if not messages:
        raise FieldError("messages", "messages is empty; it must end with the user's question")
    turns = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise FieldError("messages", f"{where} is {shown(message)}; it must be an object with role and content")
        for name, value in message.items():
            if name not in ("role", "content", "name") and value not in (None, []):
                raise FieldError("messages", f"{where} has {shown(name)}, which is not supported")
        role = message["role"]
        if not isinstance(role, str) or role not in _ROLES:
            raise FieldError("messages", f"{where} has the role {shown(role)}; it must be one of {', '.join(_ROLES)}")
        text = message_text(message, where)
        if not takes(str, text):
            raise FieldError("messages", f"{where} has the content {shown(text)}; it must be Unicode text")
        turns.append((_ROLES[role], text))
    return turns


def _completion(body: _CompletionBody, terms: Terms) -> Asked:
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) != 1:
        raise FieldError("prompt", f"prompt is a list of {len(prompts)}; it must be one text")
    asked = _asked(body, terms, prompts[0].strip(), body.max_tokens, ())
    return replace(asked, prompt=prompts[0])


def _asked(
    body: _Body, terms: Terms, question: str, max_tokens: int | None, before: tuple[tuple[str, str], ...]
) -> Asked:
    if not question.strip():
        raise InputError("the question is blank; it must be a text")
    for name, least in (("n", 1), ("seed", 0)):
        value = getattr(body, name)
        if value is not None and value < least:
            raise FieldError(name, f"{name} is {value}; it must be at least {least}")
    options = body.stream_options or {}
    if set(options) - {"include_usage"} or not isinstance(options.get("include_usage", False), bool):
        raise FieldError("stream_options", f"stream_options is {shown(options)}; only include_usage is supported")
    decoding = _decoding(body, terms.decoding, max_tokens)
    strategy = _strategy(body.model, terms)
    return Asked(
        model=body.model,
        question=question,
        before=before,
        prompt=None,
        strategy=strategy,
        budget=_budget(strategy, decoding.max_tokens, terms),
        decoding=decoding,
        seed=body.seed,
        n=body.n,
        stream=body.stream,
        include_usage=bool(options.get("include_usage")),
    )


def _decoding(body: _Body, decoding: Decoding, max_tokens: int | None) -> Decoding:
    changes: Mapping[str, Any] = {"temperature": body.temperature, "top_p": body.top_p, "max_tokens": max_tokens}
    changed = replace(decoding, **{name: value for name, value in changes.items() if value is not None})
    if changed.max_tokens > decoding.max_tokens:
        raise FieldError(
            "max_tokens", f"max_tokens is {changed.max_tokens}; it must be at most {decoding.max_tokens} on this server"
        )
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    changed = replace(
        changed,
        max_step_tokens=min(decoding.max_step_tokens, max(1, changed.max_tokens)),
        stop=tuple(dict.fromkeys([*decoding.stop, *stop])),
    )
    try:
        check_decoding(changed)
    except ValueError as error:  # which begins with the field's name
        raise FieldError(str(error).partition(" ")[0], str(error)) from error
    return changed


def _strategy(model: str, terms: Terms) -> Strategy:
    name, at, text = model.partition("@")
    if name != terms.name:
        raise RefusedError(
            404,
            f"model {shown(model)} is not served; it must be {terms.name}, or {terms.name}@ and a strategy"
            f"{did_you_mean(name, [terms.name])}",
            field="model",
            code="model_not_found",
        )
    if not at:
        return terms.strategy
    try:
        return read_strategy(text, terms.searches, terms.options)
    except (TypeError, ValueError) as error:
        raise FieldError("model", f"model is {shown(model)}: {error}") from error


def _budget(strategy: Strategy, max_tokens: int, terms: Terms) -> int:
    budget = strategy.budget(max_tokens, max(terms.budget, max_tokens))
    if not max_tokens <= budget <= terms.max_budget:
        raise FieldError(
            "model",
            f"the strategy may take {budget} tokens; it must be at least max_tokens ({max_tokens}), and at most "
            f"{terms.max_budget} on this server",
        )
    return budget


def _solution(body: _ScoreBody, style: str) -> tuple[Solution | None, list[Span]]:
    if (body.solution is None) == (body.steps is None):
        raise InputError("give either solution, a text, or steps, a list of texts")
    if body.solution is not None:
        split = segment_steps(body.solution, style)
        return (Solution(body.question, split.steps) if split.spans else None), list(split.spans)
    steps = body.steps or []
    if not all(step.strip() for step in steps):
        raise FieldError("steps", "steps holds a blank text; a step must hold more than white space")
    starts = accumulate((len(step) + 1 for step in steps), initial=0)  # A line break lies between two.
    spans = [(start, start + len(step)) for start, step in zip(starts, steps, strict=False)]
    return (Solution(body.question, steps) if steps else None), spans
