"""Requests to a server that speaks OpenAI's protocol, such as vLLM's: many at once, each tried again when it fails.

The ``openai`` client retries, each time after twice as long a wait, up to 8 seconds, or after what the server asks for.
A status of success is not enough: an answer that is late, too large, no JSON, or not what was asked for is the server's
fault as well, never that of the data in the request, and is treated like a lost connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import reprlib
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from erprm.engines.base import EngineError, PromptError
from erprm.engines.settings import ServerConnection
from erprm.errors import printable

Result = TypeVar("Result")

# A wrong address should not take minutes to be found out, as a server that is being restarted may.
_RETRIES_ON_OPENING = 3
_MOST_BYTES_OF_MODELS = 2**24
_LONGEST_CONTEXT = 2**31 - 1
_LONGEST_MESSAGE = 250
# vLLM 0.32 finds out that a log probability is NaN when it writes its answer, and says status 400.
_OF_NAN = "not JSON compliant"

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 120


class ServerError(EngineError):
    """The server did not answer, also after the last retry, or answers otherwise than it should."""


class AnswerError(ValueError):
    """An answer with a status of success that is not what was asked for; the next attempt may get that."""


@dataclass(frozen=True)
class Request(Generic[Result]):
    """What a server is asked.

    Attributes:
        path: below the server's ``base_url``, or a whole URL.
        body: JSON values to send; without them it is a GET.
        read: makes the result of the answer's JSON value; raises :class:`AnswerError` if that is something else than
            what was asked for.
        most_bytes: more than these are no answer.
    """

    path: str
    body: Mapping[str, Any] | None
    read: Callable[[Any], Result]
    most_bytes: int


@dataclass(frozen=True)
class ModelCard:
    """What a server says of a model that it serves.

    Attributes:
        name: the served name.
        root: where the server has the model from, if it says so.
        max_model_len: tokens of the context, if it says so.
        owned_by: ``vllm`` for a model that vLLM serves.
    """

    name: str
    root: str | None
    max_model_len: int | None
    owned_by: str | None


@dataclass
class _Exchange:
    """A request under way, and what was read of the answer to it."""

    request: Request[Any]
    results: list[Any] = field(default_factory=list)


_exchange: ContextVar[_Exchange] = ContextVar("request of this task")


class OpenAIServer:
    """A server, as it is asked; nothing is held between calls.

    Args:
        base_url: address up to and with ``/v1``.
        model: name of the served model, where it is known already.
        connection: how it is asked.
        hints: what a status may come from, for messages.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None,
        connection: ServerConnection,
        hints: Mapping[int, str] | None = None,
    ) -> None:
        self.base_url = base_url
        self.model = model
        self._concurrency, self._retries = connection.concurrency, connection.retries
        self._timeout_s = connection.timeout_s
        key_hint = f"the key is read from ${connection.api_key_env}"
        self._hints = {401: key_hint, 403: key_hint, **(hints or {})}
        self._api_key = os.environ.get(connection.api_key_env) or "none"

    @property
    def place(self) -> str:
        """Server and model, for messages."""
        return f"server {self.base_url}" + (f", model {self.model!r}" if self.model is not None else "")

    def model_card(self, key: str) -> ModelCard:
        """What the server says of the model, by default of the first that it serves, whose name is kept.

        Args:
            key: what names the model in the settings, for messages.

        Raises:
            ServerError: if the server cannot be reached, or its list of models is malformed.
            ValueError: if it does not serve the model.
        """
        names: list[str] = []

        def read(answer: Any) -> ModelCard | None:
            cards = _models_in(answer)
            names[:] = cards
            name = self.model if self.model is not None else names[0]
            return _model_card(cards[name]) if name in cards else None

        request = Request("/models", None, read, _MOST_BYTES_OF_MODELS)
        (card,) = _run(self._ask_all([request], min(self._retries, _RETRIES_ON_OPENING)))
        if card is None:
            raise ValueError(f"{key} is {self.model!r}, but {self.base_url} serves {_shown.repr(sorted(names))}")
        self.model = card.name
        return card

    def ask_all(self, requests: Sequence[Request[Result]]) -> list[Result]:
        """Sends all requests, many at once, also where an event loop is running already, as in a notebook.

        Returns:
            What was read of the answer to each.

        Raises:
            PromptError: if the server refuses a request (status 400 or 422).
            ServerError: if a request failed, also after the last retry; says how many were answered.
        """
        return _run(self._ask_all(requests, self._retries))

    async def _ask_all(self, requests: Sequence[Request[Result]], retries: int) -> list[Result]:
        from openai import APIError, AsyncOpenAI, BadRequestError, UnprocessableEntityError

        under_way = asyncio.Semaphore(self._concurrency)
        answered = 0
        async with AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key,
            timeout=None,
            max_retries=retries,
            http_client=_reading_client(self._timeout_s),
        ) as client:

            async def answer(request: Request[Result]) -> Result:
                nonlocal answered
                async with under_way:
                    exchange = _Exchange(request)
                    _exchange.set(exchange)
                    try:
                        if request.body is None:
                            await client.get(request.path, cast_to=bytes)
                        else:
                            await client.post(request.path, body=request.body, cast_to=bytes)
                    except (BadRequestError, UnprocessableEntityError) as error:
                        if _OF_NAN in error.message:
                            raise ServerError(
                                f"{self.place}: the model's logits are not finite, as with NaN in its weights: "
                                f"{_one_line(error.message)}"
                            ) from None
                        raise PromptError(f"{self.place} refuses a request: {_one_line(error.message)}") from error
                    except APIError as error:
                        raise self._error(
                            error, retries, f"; {answered} of {len(requests)} requests were answered"
                        ) from error
                    answered += 1
                    result: Result = exchange.results[0]
                    return result

            tasks = [asyncio.ensure_future(answer(request)) for request in requests]
            try:
                return await asyncio.gather(*tasks)
            finally:
                # Those under way when one has failed must end before the client does.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _error(self, error: Any, retries: int, done: str) -> ServerError:
        status = getattr(error, "status_code", None)
        if status is not None:
            what = f"status {status}: {error.message}"
        else:
            cause = error.__cause__ or error
            what = f"no usable answer: {str(cause) or type(cause).__name__}"
        hint = f" ({self._hints[status]})" if status in self._hints else ""
        if status in range(300, 400):
            hint = f" (it redirects to {_shown.repr(error.response.headers.get('location'))}; give that address)"
        return ServerError(f"{self.place}, after up to {retries} retries: {_one_line(what)}{hint}{done}")


def _reading_client(timeout_s: float) -> Any:
    """The HTTP client of an ``AsyncOpenAI``, which reads the answer to each attempt before it counts as one."""
    from openai import DefaultAsyncHttpxClient

    class ReadingClient(DefaultAsyncHttpxClient):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            # httpx or httpx2, as the version of openai has it. Both retry on their errors.
            library: Any = sys.modules[type(request).__module__.partition(".")[0]]
            exchange = _exchange.get()
            try:
                # httpx has limits for the single steps, such as the wait for the next bytes, but none for the whole.
                response, body = await asyncio.wait_for(self._whole(request, exchange, options), timeout_s)
                if response.is_success:
                    exchange.results[:] = [exchange.request.read(_json_value(body))]
            except asyncio.TimeoutError as error:
                raise library.ReadTimeout(f"it was not complete within {timeout_s:g} s", request=request) from error
            except AnswerError as error:
                raise library.RemoteProtocolError(str(error), request=request) from error
            return type(response)(response.status_code, headers=response.headers, content=body, request=request)

        async def _whole(self, request: Any, exchange: _Exchange, options: dict[str, Any]) -> tuple[Any, bytes]:
            response = await super().send(request, **{**options, "stream": True})
            try:
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise AnswerError("it is compressed, which was not asked for")
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > exchange.request.most_bytes:
                        raise AnswerError(f"it has more than {exchange.request.most_bytes:,} bytes")
            finally:
                await response.aclose()
            return response, bytes(body)

    # A few compressed bytes may stand for gigabytes, and a redirected POST becomes a GET without a body.
    return ReadingClient(timeout=None, follow_redirects=False, headers={"Accept-Encoding": "identity"})


def _json_value(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        shown = f"the body {_shown.repr(body.decode(errors='replace'))}" if body else "an empty body"
        raise AnswerError(f"it is {shown}, not JSON") from error


def shown_answer(answer: Any) -> str:
    """An answer, or a part of one, for messages: shortened, and without control characters."""
    return _shown.repr(answer)


def _models_in(answer: Any) -> dict[str, dict[str, Any]]:
    """The cards of the served models by name, in the server's order."""
    cards = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(cards, list) or not cards:
        raise AnswerError(f"it is {shown_answer(answer)}, not a list of models")
    for card in cards:
        if not isinstance(card, dict) or not isinstance(card.get("id"), str) or not card["id"]:
            raise AnswerError(f"it lists {shown_answer(card)}, which is not a model with an id")
    return {card["id"]: card for card in cards}


def _model_card(card: Mapping[str, Any]) -> ModelCard:
    root, context, owner = (card.get(name) for name in ("root", "max_model_len", "owned_by"))
    if root is not None and not (isinstance(root, str) and root and root.isprintable()):
        raise AnswerError(f"the model {card['id']!r} has the root {shown_answer(root)}; expected a path or a hub id")
    if context is not None and not (type(context) is int and 2 <= context <= _LONGEST_CONTEXT):
        raise AnswerError(
            f"the model {card['id']!r} has the max_model_len {shown_answer(context)}; expected a whole number from 2 "
            f"to {_LONGEST_CONTEXT}"
        )
    return ModelCard(card["id"], root, context, owner if isinstance(owner, str) else None)


def _one_line(text: str) -> str:
    """What a server says, as a part of a message: on one line, not endless, and without control characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]} ..."


def _run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
