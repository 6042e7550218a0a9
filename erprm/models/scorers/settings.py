"""Settings of a model behind a URL; loads no library."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.engines.settings import ServerConnection
from erprm.inherited_help import inherits_help


def is_url(model: str) -> bool:
    """True if a model is named by the address of its server."""
    return model.startswith(("http://", "https://"))


@inherits_help
@dataclass(frozen=True)
class ServedModel(ServerConnection):
    """Settings of requests to a served model; used where ``model`` is the URL of its server.

    Attributes:
        model: folder or hub id with the configuration, the step format and the tokenizer of what is served; by default
            where the server has it from, which must then be found under that name here, too.
        name: which of the models that the server serves; by default the first.
        concurrency: the most requests under way; one request is one solution.
    """

    model: str | None = None
    name: str | None = None
