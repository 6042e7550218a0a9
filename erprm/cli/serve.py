"""``erprm serve``: a server with OpenAI's interface, whose answers a step scorer has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from erprm.cli.commands import parse_settings
from erprm.serve.config import ServeConfig


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal comes."""
    config = parse_settings(ServeConfig, arguments)

    from erprm.serve.run import run_server

    def tell(address: str, name: str) -> None:
        print(f"{name} answers at {address}/v1 by {config.strategy}; {address} is a page to try it on", flush=True)

    run_server(config, tell)
    return 0
