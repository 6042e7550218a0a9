"""Pages link to files beside ``docs/`` as on a code host; here these files become pages of the site, too.

``README.md`` is the first page. Another Markdown file keeps its text, a notebook becomes its cells, and any other
file is shown as it is. A hook of MkDocs.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
# Pages without a link from another page.
STARTS = ("README.md", "CHANGELOG.md")

_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=[)#])")
_FILE_BLOCK = re.compile(r"^<!-- *file: (?P<name>\S+) *-->\n```(?P<language>\w*)$", re.MULTILINE)


def place_on_site(file: str) -> str:
    """The source path of the page, or of the picture, that a file of the repository becomes."""
    if file == "README.md":
        return "index.md"
    path = file.removeprefix("docs/")
    return path if path != file or path.endswith(".md") else f"{path}.md"


def linked_files(text: str, file: str) -> Iterator[str]:
    """The files, from the root of the repository, that the links of a Markdown file lead to."""
    for match in _LINK.finditer(text):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(file), match["path"]))


def with_links_of_site(text: str, file: str) -> str:
    """A Markdown file with its links turned into those between pages of the site."""
    folder = posixpath.dirname(place_on_site(file))

    def link(match: re.Match[str]) -> str:
        (target,) = linked_files(f"]({match['path']})", file)
        return posixpath.relpath(place_on_site(target), folder or ".")

    return _LINK.sub(link, text)


def notebook_text(notebook: str) -> str:
    """The cells of a notebook without its outputs, as Markdown."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(notebook)["cells"]]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells) + "\n"


def files_beside_docs(docs: dict[str, str], read: Path) -> dict[str, str]:
    """The Markdown of each page for a file beside ``docs/``.

    Args:
        docs: the Markdown files below ``docs/``, by path from the root of the repository.
        read: the root of the repository.
    """
    found: dict[str, str] = {}
    left = list(STARTS) + [target for file, text in docs.items() for target in linked_files(text, file)]
    while left:
        file = left.pop()
        if file in found or file.startswith("docs/"):
            continue
        text = (read / file).read_text(encoding="utf-8")
        if file.endswith(".md"):
            left += linked_files(text, file)
        elif file.endswith(".ipynb"):
            text = notebook_text(text)
        else:
            text = f"# {file}\n\n```{Path(file).suffix[1:]}\n{text}```\n"
        found[file] = text
    return found


# The hooks of MkDocs. -------------------------------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds a page for each file that a page links to."""
    from mkdocs.structure.files import File

    docs = {f"docs/{page.src_uri}": page.content_string for page in files.documentation_pages()}
    for file, text in files_beside_docs(docs, REPOSITORY).items():
        files.append(File.generated(config, place_on_site(file), content=text))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrites the links of a page; a block that becomes a file shows its name."""
    source = page.file.src_uri
    if source == place_on_site("README.md"):
        file = "README.md"
    elif (REPOSITORY / "docs" / source).is_file():
        file = f"docs/{source}"
    elif (REPOSITORY / source).is_file():
        file = source
    else:  # a file that is shown as it is, or a page of the reference
        return markdown
    return with_links_of_site(_FILE_BLOCK.sub(r'```\g<language> title="\g<name>"', markdown), file)
