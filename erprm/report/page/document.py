"""The page as one HTML document: its own files put together, with the content embedded as data that cannot run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from erprm.runs.atomic import finite, whole_file
from erprm.runs.lock import sole_writer

# In the order in which they are put together; later ones use what earlier ones define.
_SCRIPTS = (
    "elements.js",
    "csv.js",
    "latex.js",
    "charts.js",
    "windowed_list.js",
    "sections.js",
    "runs.js",
    "browser.js",
    "page.js",
)
# JSON has other words for these, and without them no text can end the element it stands in or start another.
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def embeddable_json(content: Mapping[str, Any]) -> str:
    r"""JSON that may stand in a ``script`` element whatever its texts are; numbers that are not finite become null.

    >>> embeddable_json({"text": "</script>"})
    '{"text":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_short(finite(content)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPED)


def _short(value: Any) -> Any:
    """Numbers with nine digits: as many as tell any two float32 apart, such as the scores of two ranks."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: _short(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_short(entry) for entry in value]
    return value


def document(content: Mapping[str, Any]) -> str:
    """The page with some content; see :func:`erprm.report.page.content.page_content`."""
    style = _asset("page.css")
    script = "(() => {\n'use strict';\n" + "\n".join(map(_asset, _SCRIPTS)) + "})();\n"
    parts = {
        "title": html.escape(content["title"]),
        "policy": html.escape(
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        ),
        "style": style,
        "script": script,
        "content": embeddable_json(content),
    }
    # In one pass: content may hold what looks like a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def write_document(content: Mapping[str, Any], path: Path) -> int:
    """Writes the page, whole or not at all; its size in bytes."""
    encoded = document(content).encode(errors="replace")
    with sole_writer(path), whole_file(path) as file:
        file.write(encoded)
    return len(encoded)


def _asset(name: str) -> str:
    return (files("erprm.report.page") / "assets" / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """A source as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
