"""Requests to a server that speaks OpenAI's protocol, such as vLLM's: many at once, each tried again when it fails.

The ``openai`` client retries, each time after twice as long a wait, up to 8 seconds, or after what the server asks for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from erprm.engines.base import EngineError, PromptError
from erprm.engines.settings import ServerConnection

Input = TypeVar("Input")
Result = TypeVar("Result")

# A wrong address should not take minutes to be found out, as a server that is being restarted may.
_RETRIES_ON_OPENING = 3


class ServerError(EngineError):
    """The server did not answer, also after the last retry, or answers otherwise than it should."""


class OpenAIServer:
    """A server, as it is asked; nothing is held between calls.

    Args:
        base_url: address up to and with ``/v1``.
        model: name of the served model, where it is known already; for messages.
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
        key_hint = f"the key is read from ${connection.api_key_env}"
        self._hints = {401: key_hint, 403: key_hint, **(hints or {})}
        self._connection = {
            "base_url": base_url,
            "timeout": connection.timeout_s,
            "api_key": os.environ.get(connection.api_key_env) or "none",
        }

    @property
    def place(self) -> str:
        """Server and model, for messages."""
        return f"server {self.base_url}" + (f", model {self.model!r}" if self.model is not None else "")

    def models(self) -> dict[str, Any]:
        """The served models by name.

        Raises:
            ServerError: if the server cannot be reached.
        """
        from openai import APIError, OpenAI

        retries = min(self._retries, _RETRIES_ON_OPENING)
        try:
            with OpenAI(**self._connection, max_retries=retries) as client:
                return {model.id: model for model in client.models.list()}
        except APIError as error:
            raise self._error(error, retries) from error

    def ask_all(self, inputs: Sequence[Input], ask: Callable[[Any, Input], Awaitable[Result]]) -> list[Result]:
        """Asks for every input, many at once, also where an event loop is running already, as in a notebook.

        Args:
            inputs: what to ask for.
            ask: sends the request for one input through an ``openai.AsyncOpenAI``.

        Raises:
            PromptError: if the server refuses a request (status 400 or 422).
            ServerError: if a request failed, also after the last retry; says how many were answered.
        """
        return _run(self._ask_all(inputs, ask))

    async def _ask_all(self, inputs: Sequence[Input], ask: Callable[[Any, Input], Awaitable[Result]]) -> list[Result]:
        from openai import APIError, AsyncOpenAI, BadRequestError, UnprocessableEntityError

        under_way = asyncio.Semaphore(self._concurrency)
        answered = 0
        async with AsyncOpenAI(**self._connection, max_retries=self._retries) as client:

            async def answer(of: Input) -> Result:
                nonlocal answered
                async with under_way:
                    try:
                        result = await ask(client, of)
                    except (BadRequestError, UnprocessableEntityError) as error:
                        raise PromptError(f"{self.place} refuses a request: {error.message}") from error
                    except APIError as error:
                        raise self._error(
                            error, self._retries, f"; {answered} of {len(inputs)} requests were answered"
                        ) from error
                    answered += 1
                    return result

            return await asyncio.gather(*map(answer, inputs))

    def _error(self, error: Any, retries: int, done: str = "") -> ServerError:
        status = getattr(error, "status_code", None)
        what = f"status {status}: {error.message}" if status is not None else f"no answer: {error}"
        hint = f" ({self._hints[status]})" if status in self._hints else ""
        return ServerError(f"{self.place}, after up to {retries} retries: {what}{hint}{done}")


def _run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
