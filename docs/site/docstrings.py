"""Docstrings as Markdown: roles become links, doctests, literal blocks and tables become blocks of code.

An extension of griffe, which reads the package for mkdocstrings.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from griffe import Alias, Extension, NameResolutionError, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|const):`(?P<target>[^`]+)`")
# The first line of a doctest or a table.
_CODE = re.compile(r" *(?:>>> |=+(?: +=+)+$)")


class MarkdownDocstrings(Extension):
    """Rewrites the docstring of each object that is read."""

    def on_object(self, *, obj: Object | Alias, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = markdown_of(obj.docstring.value, obj)


def markdown_of(docstring: str, scope: Object | Alias) -> str:
    """A docstring in Markdown.

    Args:
        docstring: Google style, with reStructuredText inside.
        scope: the object it describes, in which short names are looked up.
    """

    def link(match: re.Match[str]) -> str:
        shown, path = match["target"], match["target"].removeprefix("~")
        shown = path.rpartition(".")[2] if shown != path else shown
        with contextlib.suppress(NameResolutionError):
            path = scope.resolve(path)
        return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'

    return _ROLE.sub(link, _fenced(docstring))


def _fenced(docstring: str) -> str:
    """With fences around doctests and tables, which go on to the end of their paragraph."""
    paragraphs: list[str] = []
    indentation = 0  # of the last line above
    for paragraph in re.split(r"\n\s*\n", docstring):
        lines = paragraph.split("\n")
        start = next((i for i, line in enumerate(lines) if _CODE.match(line)), None)
        if lines[-1].endswith("::"):
            lines[-1] = lines[-1][:-1]
        # A paragraph of its own that is indented further is code in Markdown as it is.
        elif start is not None and (start > 0 or _indentation(lines[0]) < indentation + 4):
            indent = " " * _indentation(lines[start])
            language = "pycon" if lines[start].strip().startswith(">>>") else "text"
            lines[start:] = [f"{indent}```{language}", *lines[start:], f"{indent}```"]
        paragraphs.append("\n".join(lines))
        indentation = _indentation(lines[-1])
    return "\n\n".join(paragraphs)


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())
