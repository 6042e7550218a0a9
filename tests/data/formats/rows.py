"""Rows of other layouts in files, as the tests of all of them need."""

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, *rows: Any) -> Path:
    """Writes one row a line, or one array into a ``.json`` file."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = f"[{', '.join(lines)}]" if path.suffix == ".json" else "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path
