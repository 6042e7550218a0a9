"""Settings of a model behind a URL; loads no library."""

from __future__ import annotations

from dataclasses import dataclass


def is_url(model: str) -> bool:
    """Whether a model is named by the address of its server."""
    return model.startswith(("http://", "https://"))


@dataclass(frozen=True)
class ServedModel:
    """How a served model is asked; used where ``model`` is the URL of its server.

    Attributes:
        model: folder or hub id with the configuration, the step format and the tokenizer of what is served; by default
            where the server has it from, which must then be found under that name here, too.
        name: which of the models that the server serves; by default the first.
        api_key_env: environment variable that holds the key, if the server wants one.
        concurrency: the most requests under way; one request is one solution.
        timeout_s: the most seconds for the answer to a request.
        retries: further attempts after a lost connection, a time-out, or a status 408, 409, 429 or 5xx, up to 8 seconds
            apart.
    """

    model: str | None = None
    name: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: int = 64
    timeout_s: float = 600.0
    retries: int = 20
