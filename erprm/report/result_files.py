"""Files of results: JSON that any reader takes, whole or not there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erprm.runs.atomic import whole_file


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes a JSON file; numbers that are not finite, which JSON has no word for, become null."""
    with whole_file(path) as file:
        file.write((json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def finite(value: Any) -> Any:
    """The value with null for each number in it that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


def encodable(text: str) -> str:
    """The text with ``?`` for halves of surrogate pairs, which no file takes."""
    return text.encode(errors="replace").decode()
