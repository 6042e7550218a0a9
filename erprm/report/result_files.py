"""Atomic writes of result files, as JSON that any reader accepts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erprm.runs import atomic


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON file; numbers that are not finite, which JSON has no word for, become null."""
    atomic.write_json(atomic.finite(content), path)


def encodable(text: str) -> str:
    """The text with ``?`` for halves of surrogate pairs, which no file takes."""
    return text.encode(errors="replace").decode()
