"""Refusals of requests: a status, and an error in OpenAI's form."""

from __future__ import annotations

import logging
from typing import Any

from erprm.engines.base import EngineError
from erprm.errors import InputError, printable
from erprm.scoring import ScorerError
from erprm.serve.fields import FieldError

log = logging.getLogger(__name__)

_LONGEST_MESSAGE = 1000
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """The reason why a request gets no answer.

    Attributes:
        status: of the response.
        field: of the request that is at fault, if one is.
        code: OpenAI's name for the error, if it has one.
        retry_after_s: seconds after which another attempt makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.code, self.retry_after_s = status, field, code, retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = printable(str(self))[:_LONGEST_MESSAGE]
        return {
            "error": {
                "message": message,
                "type": kind,
                "param": self.field and printable(self.field)[:80],
                "code": self.code,
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


def refusal_of(error: BaseException) -> RefusedError:
    """What a client is told of an error; one of the program's goes into the log."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, EngineError):
        return RefusedError(503, f"the policy or the scorer does not answer: {error}", retry_after_s=5)
    if isinstance(error, InputError) and not isinstance(error, ScorerError):
        return RefusedError(400, str(error), field=error.field if isinstance(error, FieldError) else None)
    log.error("a request failed", exc_info=error)
    if isinstance(error, ScorerError):
        return RefusedError(500, f"the scorer fails: {error}")
    return RefusedError(500, f"the server fails: {type(error).__name__}; its log has the rest")
