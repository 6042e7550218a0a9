"""Help of the LightningCLI commands, stored as text, since building it imports Lightning, which takes seconds."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).with_name("help")
_PARSED_BY = ("lightning", "jsonargparse")


def read_help(command: str) -> str | None:
    """The help of a command as the installed versions would print it.

    Returns:
        Nothing if none is stored for the command, or if other versions of Lightning or jsonargparse wrote it.
    """
    file = FOLDER / f"{command}.txt"
    if not file.is_file():
        return None
    made_by, _, text = file.read_text(encoding="utf-8").partition("\n")
    return text if made_by == versions() else None


def versions() -> str:
    """First line of a stored help: the packages that its keys come from, with their versions."""
    try:
        return ", ".join(f"{package} {version(package)}" for package in _PARSED_BY)
    except PackageNotFoundError:
        return ""
