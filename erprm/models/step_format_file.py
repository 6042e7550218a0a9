"""The step format that this package saves with a model: ``step_format.json`` in its folder, or in its repository."""

from __future__ import annotations

import json
from pathlib import Path

from erprm.data.files.hub import is_hub_id
from erprm.runs.identity import hub_file
from erprm.steps import StepFormat

STEP_FORMAT_FILE = "step_format.json"
# The same in ``config.json`` of a token classifier, which alone goes where only a model is copied to.
STEP_FORMAT_KEY = "step_format"


def read_step_format(file: Path) -> StepFormat:
    """The step format in a file.

    Raises:
        ValueError: naming the file, if it holds none.
    """
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise ValueError(f"it holds {str(saved)[:40]!r}; it must be a JSON object, the fields of a step format")
        return StepFormat.from_dict(saved)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from error


def saved_step_format(backbone: str) -> StepFormat | None:
    """The step format that is saved with a backbone, in its folder or on the hub."""
    file = hub_file(backbone, STEP_FORMAT_FILE) if is_hub_id(backbone) else Path(backbone) / STEP_FORMAT_FILE
    return read_step_format(file) if file is not None and file.is_file() else None
