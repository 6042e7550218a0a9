"""The HTTP side: paths, keys, limits, and clients that hang up."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from erprm.serve.answers import Completion, scores_json
from erprm.serve.metrics import Metrics
from erprm.serve.refusals import RefusedError, refusal_of
from erprm.serve.requests import Asked, Terms, read_chat, read_completion, read_scoring
from erprm.serve.worker import Worker

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_PAGE = Path(__file__).with_name("page.html")
# The page needs nothing but itself and this server.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}
_BODY_TIMEOUT_S = 60.0
_HUNG_UP = 499  # nginx's status for it; nobody reads this answer

Handler = Callable[["Request"], Awaitable["Response"]]


@dataclass(frozen=True)
class Service:
    """What the paths need.

    Attributes:
        worker: solves.
        terms: on which requests are answered.
        api_key: that clients must send; None if everybody may ask.
        max_body_bytes: the most bytes of a body.
    """

    worker: Worker
    terms: Terms
    api_key: str | None
    max_body_bytes: int


def make_app(service: Service) -> Starlette:
    """The application, for any ASGI server."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    paths = _Paths(service)
    return Starlette(
        routes=[
            Route("/", paths.page),
            Route("/health", paths.health),
            Route("/metrics", paths.metrics),
            Route("/v1/models", paths.answering(paths.models)),
            Route("/v1/chat/completions", paths.answering(paths.chat), methods=["POST"]),
            Route("/v1/completions", paths.answering(paths.completion), methods=["POST"]),
            Route("/score", paths.answering(paths.score), methods=["POST"]),
        ],
        exception_handlers={HTTPException: _other_path},
    )


class _Paths:
    """A method for each path."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._worker, self._terms = service.worker, service.terms
        self._metrics = Metrics(lambda: service.worker.waiting)
        self._since = int(time.time())

    def answering(self, handler: Handler) -> Handler:
        """A handler behind the key, whose errors are refusals, and which is counted."""

        async def answer(request: Request) -> Response:
            began = time.monotonic()
            try:
                self._check_key(request)
                response = await handler(request)
            except Exception as error:  # noqa: BLE001 - a client is told; what is no refusal is in the log
                response = _refused(refusal_of(error))
            self._metrics.count(request.url.path, response.status_code, time.monotonic() - began)
            return response

        return answer

    async def page(self, _: Request) -> Response:
        """A page to ask questions on."""
        from starlette.responses import HTMLResponse

        return HTMLResponse(_PAGE.read_text(encoding="utf-8"), headers=_PAGE_HEADERS)

    async def health(self, _: Request) -> Response:
        """Status 200 while requests are taken."""
        closing = self._worker.is_closing
        status = "closing" if closing else "ok"
        return _json({"status": status, "waiting": self._worker.waiting}, 503 if closing else 200)

    async def metrics(self, _: Request) -> Response:
        """Numbers for Prometheus."""
        from starlette.responses import Response

        text, content_type = self._metrics.text()
        return Response(text, media_type=content_type)

    async def models(self, _: Request) -> Response:
        """The policy, alone and with each strategy."""
        name = self._terms.name
        names = [name, *(f"{name}@{strategy}" for strategy in self._terms.searches)]
        cards = [{"id": each, "object": "model", "created": self._since, "owned_by": "erprm"} for each in names]
        return _json({"object": "list", "data": cards})

    async def chat(self, request: Request) -> Response:
        """OpenAI's chat completions."""
        return await self._generated(request, read_chat(await self._body(request), self._terms))

    async def completion(self, request: Request) -> Response:
        """OpenAI's completions."""
        return await self._generated(request, read_completion(await self._body(request), self._terms))

    async def score(self, request: Request) -> Response:
        """Step scores of a solution, or of a list of them."""
        body = await self._body(request)
        asked = read_scoring(body, self._terms.decoding.style)
        found = scores_json(asked, await self._solved(request, asked))
        return _json(found if isinstance(body, list) else found[0])

    async def _generated(self, request: Request, asked: Asked) -> Response:
        from starlette.responses import StreamingResponse

        answer = await self._solved(request, asked)
        self._metrics.count_tokens(answer.result.tokens)
        completion = Completion(asked, answer)
        if not asked.stream:
            return _json(completion.whole())
        return StreamingResponse(_events(completion), media_type="text/event-stream")

    async def _solved(self, request: Request, asked: Any) -> Any:
        """What the worker makes of it; a client that hangs up takes its request out of the queue."""
        waiting = asyncio.wrap_future(self._worker.submit(asked))
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise RefusedError(_HUNG_UP, "the client has hung up")
            return waiting.result()
        finally:
            waiting.cancel()
            gone.cancel()

    def _check_key(self, request: Request) -> None:
        key = self._service.api_key
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if key is None or (
            scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), key.encode())
        ):
            return
        raise RefusedError(
            401, "a key is needed: Authorization: Bearer KEY, with this server's key", code="invalid_api_key"
        )

    async def _body(self, request: Request) -> Any:
        # A form of another site could send anything else without the browser asking this server first.
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise RefusedError(415, f"the content type is {content_type[:80]!r}; it must be application/json")
        try:
            body = await asyncio.wait_for(self._bytes(request), _BODY_TIMEOUT_S)
        except asyncio.TimeoutError as error:
            raise RefusedError(408, f"the body was not complete within {_BODY_TIMEOUT_S:g} s") from error
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, f"the body is not JSON: {str(error) or type(error).__name__}") from error

    async def _bytes(self, request: Request) -> bytes:
        from starlette.requests import ClientDisconnect

        most = self._service.max_body_bytes
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise RefusedError(413, f"the body has more than {most:,} bytes, the most that this server takes")
        except ClientDisconnect as error:
            raise RefusedError(_HUNG_UP, "the client has hung up") from error
        return bytes(body)


async def _hung_up(request: Request) -> None:
    """Returns once the client has hung up; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(completion: Completion) -> AsyncIterator[str]:
    for part in completion.parts():
        yield f"data: {json.dumps(part)}\n\n"
    yield "data: [DONE]\n\n"


async def _other_path(request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 500))
    what = "there is no such path" if status == 404 else str(getattr(error, "detail", error))
    return _refused(RefusedError(status, f"{request.method} {request.url.path[:200]}: {what}"))


def _refused(refusal: RefusedError) -> Response:
    return _json(refusal.body, refusal.status, refusal.headers)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(value, status, headers)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a value of JSON")
