"""``erprm serve``: a server with OpenAI's interface, whose answers a step scorer has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from erprm.cli.commands import parse_settings
from erprm.serve.config import ServeConfig


def main(arguments: Sequence[str]) -> int:
    """Serves until a signal comes."""
    config = parse_settings(ServeConfig, arguments)

    from erprm.serve.run import run_server

    run_server(config, lambda address, name: tell(address, name, config.strategy))
    return 0


def tell(address: str, name: str, strategy: str) -> None:
    """Says where to ask."""
    print(f"{name} answers at {address}/v1 by {strategy}; {address} is a page to try it on", flush=True)
