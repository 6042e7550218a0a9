"""The reference of the site: a page for each part of the package, with every public name in it.

A name is public if it stands in the ``__all__`` of its package or module. Where several packages list the same thing,
it is described once, and the other places link to it. A hook of MkDocs, which imports nothing of the package that is
described but :mod:`erprm.lazy`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from erprm.lazy import listed_names  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FOLDER = "reference"
NAV_SECTION = "Look up"

# Blocks, links and headings are passed over.
_BLOCK_OR_NAME = re.compile(
    r"^ *```.*?^ *```$|^#[^\n]*$|\[[^\]]*\]\([^)]*\)|`(?P<path>erprm(?:\.\w+)+)`", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class PublicModule:
    """A module or package with public names.

    Attributes:
        path: as it is imported, such as ``erprm.steps``.
        sources: of each public name, the module that it comes from; the module itself if it is defined there.
    """

    path: str
    sources: dict[str, str]

    @property
    def part(self) -> str:
        """The part of the package, ``erprm.data`` of ``erprm.data.records``: it has a page."""
        return ".".join(self.path.split(".")[:2])


def public_modules(package: Path) -> list[PublicModule]:
    """Every module below a package's folder that has public names, and the parts they are in, as the pages go."""
    modules = []
    for file in package.rglob("*.py"):
        path = ".".join(file.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        sources = _public_names(file.read_text(encoding="utf-8"), path)
        if sources:
            modules.append(PublicModule(path, sources))
    without_names = {module.part for module in modules} - {module.path for module in modules}
    modules += [PublicModule(part, {}) for part in without_names]
    return sorted(modules, key=lambda module: module.path)


def _public_names(source: str, path: str) -> dict[str, str]:
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            target = ast.unparse(statement.targets[0])
            if target == "__all__":
                names = ast.literal_eval(statement.value)
                return {name: path for name in sorted(names) if not name.startswith("_")}
            if target.startswith("(__all__, "):  # = public_names(...)
                return dict(sorted(listed_names(source).items()))
    return {}


class Reference:
    """The public names of a package, and the pages that describe them."""

    def __init__(self, modules: list[PublicModule]) -> None:
        self.modules = modules
        self._sources = {module.path: module.sources for module in modules}

    @cached_property
    def described_at(self) -> dict[str, str]:
        """The place where each public name is described, by every path it can be imported from."""
        paths = [f"{module.path}.{name}" for module in self.modules for name in module.sources]
        best: dict[str, str] = {}
        for path in sorted(paths, key=lambda path: (self._is_abroad(path), path.count("."), path)):
            best.setdefault(self._definition(path), path)
        return {path: best[self._definition(path)] for path in paths}

    def _definition(self, path: str) -> str:
        module, _, name = path.rpartition(".")
        source = self._sources.get(module, {}).get(name, module)
        return path if source == module else self._definition(f"{source}.{name}")

    def _is_abroad(self, path: str) -> bool:
        return self._definition(path).split(".")[1] != path.split(".")[1]

    def pages(self) -> dict[str, str]:
        """The Markdown of each page, by the path of its part."""
        pages: dict[str, str] = {}
        for module in self.modules:
            pages[module.part] = pages.get(module.part, "") + "\n".join(self._section(module))
        return pages

    def linked(self, text: str) -> str:
        """A page on which each public name that stands in code style outside blocks is a link to its description."""
        places = {module.part: module.part for module in self.modules} | self.described_at

        def link(match: re.Match[str]) -> str:
            place = places.get(match["path"] or "")
            return f"[{match[0]}][{place}]" if place else match[0]

        return _BLOCK_OR_NAME.sub(link, text)

    def _section(self, module: PublicModule) -> Iterator[str]:
        level = 1 if module.path == module.part else 2
        yield f"{'#' * level} {module.path}\n"
        yield f"::: {module.path}\n    options:\n      members: false\n      show_root_heading: false\n"
        for name in module.sources:
            path = f"{module.path}.{name}"
            if self.described_at[path] == path:
                yield f"::: {path}\n    options:\n      heading_level: {level + 1}\n"
            else:
                yield f"{'#' * (level + 1)} `{name}` {{ #{path} }}\n\nThe same as [`{self.described_at[path]}`][].\n"


@cache
def reference() -> Reference:
    """That of this package."""
    return Reference(public_modules(REPOSITORY / "erprm"))


# The hooks of MkDocs. -------------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> None:
    """Appends the pages to the section of the navigation."""
    (section,) = (section[NAV_SECTION] for section in config.nav or [] if NAV_SECTION in section)
    section.append({"Python": [{part: f"{FOLDER}/{part}.md"} for part in reference().pages()]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages."""
    from mkdocs.structure.files import File

    for part, text in reference().pages().items():
        files.append(File.generated(config, f"{FOLDER}/{part}.md", content=text))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turns the names on the other pages into links."""
    return markdown if page.file.src_uri.startswith(FOLDER) else reference().linked(markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Checks that every public name has its place on the page."""
    described = reference()
    for module in described.modules:
        html = (Path(config.site_dir) / FOLDER / module.part / "index.html").read_text(encoding="utf-8")
        missing = [name for name in module.sources if f'id="{module.path}.{name}"' not in html]
        if missing:
            raise ValueError(f"{FOLDER}/{module.part} does not show {', '.join(missing)} of {module.path}")
