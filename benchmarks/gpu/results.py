"""The result of a run: one JSON file, written anew after each part, and its tables in Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.settings import Row
from erprm.report.tables import Table
from erprm.runs.atomic import write_json

DONE, CUT, SKIPPED, FAILED = "done", "cut off", "skipped", "failed"


class Results:
    """Parts by their names.

    Attributes:
        content: what the file holds: the machine and the parts, each with its settings, how it ended and its rows.
    """

    def __init__(self, path: Path, machine: dict[str, Any]) -> None:
        """Goes on with a file of the same machine; that of another is replaced."""
        self.path = path
        self.content: dict[str, Any] = {"machine": machine, "parts": {}}
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            if before["machine"] == machine:
                self.content = before

    def has(self, part: str, settings: dict[str, Any]) -> bool:
        """True if a part is there, whole, with these settings."""
        found = self.content["parts"].get(part, {})
        return bool(found.get("status") == DONE and found.get("settings") == settings)

    def add(
        self, part: str, settings: dict[str, Any], status: str, rows: list[Row], seconds: float, note: str = ""
    ) -> None:
        """Adds a part and writes both files; a part that was not begun leaves what is there."""
        if status == SKIPPED and self.content["parts"].get(part, {}).get("rows"):
            return
        self.content["parts"][part] = {
            "status": status, "note": note, "seconds": round(seconds, 1), "settings": settings, "rows": rows,
        }  # fmt: skip
        write_json(self.content, self.path)
        self.path.with_suffix(".md").write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """A table for the machine, and one for each part."""
        machine = [[str(name), str(value)] for name, value in self.content["machine"].items()]
        pieces = [Table("", ["machine", ""], machine, align="ll").markdown()]
        for name, part in self.content["parts"].items():
            note = f": {part['note']}" if part["note"] else ""
            pieces.append(f"\n## {name}\n\n{part['status']}{note} ({part['seconds']:.0f} s)\n")
            if part["rows"]:
                header = list(dict.fromkeys(column for row in part["rows"] for column in row))
                cells = [[cell(row.get(column)) for column in header] for row in part["rows"]]
                pieces.append("\n" + Table("", header, cells).markdown())
        return "".join(pieces)

    @property
    def wrong(self) -> list[str]:
        """Names of parts that failed, or have a row that is not as it should be."""
        return [
            name
            for name, part in self.content["parts"].items()
            if part["status"] == FAILED or any(row.get("ok") is False for row in part["rows"])
        ]


def cell(value: Any) -> str:
    """A value as text, numbers with four digits.

    >>> cell(12345.678), cell(0.00012345), cell(True), cell(None)
    ('12,346', '0.0001235', 'yes', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value).replace("\n", " ").replace("|", "/")
