"""The documentation site: every public name has its place, every page is in the navigation, links become pages."""

import importlib
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY, load_script
from tests.test_public_names import PUBLIC_NAMES

reference = load_script(REPOSITORY / "docs/site/reference.py")
links = load_script(REPOSITORY / "docs/site/repository_links.py")

PAGES = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/**/README.md")]


def described() -> dict[str, str]:
    places: dict[str, str] = reference.reference().described_at
    return places


# The reference. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", sorted(PUBLIC_NAMES))
def test_every_name_that_must_stay_is_in_the_reference(module: str) -> None:
    missing = [name for name in PUBLIC_NAMES[module].split() if f"{module}.{name}" not in described()]
    assert missing == []


def test_every_name_that_pages_import_is_in_the_reference() -> None:
    imported = {
        f"{match['module']}.{name}"
        for page in PAGES
        for match in re.finditer(r"^\s*from (?P<module>erprm\S*) import (?P<names>[\w, ]+)$", page.read_text(), re.M)
        for name in match["names"].split(", ")
    }
    assert len(imported) > 40
    assert imported - set(described()) == set()


@pytest.mark.parametrize("package", ["data", "engines", "grading", "metrics", "rollout", "scoring"])
def test_the_reference_lists_what_a_package_lists(package: str) -> None:
    module = importlib.import_module(f"erprm.{package}")
    (found,) = [public for public in reference.reference().modules if public.path == module.__name__]
    assert list(found.sources) == sorted(module.__all__)
    assert all(getattr(module, name) is not None for name in found.sources)


def test_a_name_is_described_once_and_linked_to_from_elsewhere(tmp_path: Path) -> None:
    sources = {
        "one/__init__.py": """
            if TYPE_CHECKING:
                from package.one.inner import A as A
                from package.two import B as B
            __all__, __getattr__, __dir__ = public_names(__name__, __file__)""",
        "one/inner.py": '__all__ = ["A", "C"]',
        "one/private.py": "A = 1",
        "two.py": '__all__ = ["B", "__version__"]',
    }
    for file, source in sources.items():
        (tmp_path / "package" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / file).write_text(textwrap.dedent(source), encoding="utf-8")
    made = reference.Reference(reference.public_modules(tmp_path / "package"))
    assert made.described_at == {
        "package.one.A": "package.one.A",
        "package.one.B": "package.two.B",
        "package.one.inner.A": "package.one.A",
        "package.one.inner.C": "package.one.inner.C",
        "package.two.B": "package.two.B",
    }
    pages = made.pages()
    assert list(pages) == ["package.one", "package.two"]
    assert re.findall(r"^(?:#+|:::) .*", pages["package.one"], re.MULTILINE) == [
        "# package.one",
        "::: package.one",
        "::: package.one.A",
        "## `B` { #package.one.B }",
        "## package.one.inner",
        "::: package.one.inner",
        "### `A` { #package.one.inner.A }",
        "::: package.one.inner.C",
    ]
    assert "The same as [`package.two.B`][]." in pages["package.one"]


def test_a_part_without_names_of_its_own_has_a_page_for_those_of_its_modules(tmp_path: Path) -> None:
    (tmp_path / "package/part").mkdir(parents=True)
    (tmp_path / "package/part/__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "package/part/inner.py").write_text('__all__ = ["A"]', encoding="utf-8")
    pages = reference.Reference(reference.public_modules(tmp_path / "package")).pages()
    assert list(pages) == ["package.part"]
    assert pages["package.part"].startswith("# package.part\n")


def test_names_in_the_text_of_a_page_become_links() -> None:
    text = "# `erprm.steps`\n`erprm.steps` and `erprm.no.Such`, [`erprm.steps`](steps.md)\n```\n`erprm.steps`\n```\n"
    assert reference.reference().linked(text) == text.replace("\n`erprm.steps` ", "\n[`erprm.steps`][erprm.steps] ", 1)
    engine = reference.reference().linked("`erprm.rollout.Engine`")
    assert engine == "[`erprm.rollout.Engine`][erprm.engines.Engine]"


# Pages and links. -----------------------------------------------------------------------------------------------------


def pages_in(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for item in (nav.values() if isinstance(nav, dict) else nav) for page in pages_in(item)]


def test_every_page_is_in_the_navigation_once() -> None:
    settings = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(re.sub(r"!!python\S+", "", settings))["nav"]
    assert [name for section in nav for name in section] == ["Start", "Learn", "Do", "Look up", "Understand"]
    expected = [links.place_on_site(page.relative_to(REPOSITORY).as_posix()) for page in PAGES]
    assert sorted(pages_in(nav)) == sorted([*expected, "CHANGELOG.md"])


@pytest.mark.parametrize(
    ("file", "link", "expected"),
    [
        ("docs/fit.md", "](other.md#part)", "](other.md#part)"),
        ("docs/fit.md", "](#part)", "](#part)"),
        ("docs/fit.md", "](https://example.org/a.md)", "](https://example.org/a.md)"),
        ("docs/fit.md", "](images/a.png)", "](images/a.png)"),
        ("docs/fit.md", "](../configs/fit.yaml)", "](configs/fit.yaml.md)"),
        ("docs/fit.md", "](../README.md#licence)", "](index.md#licence)"),
        ("README.md", "](docs/fit.md#part)", "](fit.md#part)"),
        ("README.md", "](docs/images/a.png)", "](images/a.png)"),
        ("examples/code/README.md", "](../../docs/fit.md)", "](../../fit.md)"),
        ("examples/code/README.md", "](../../erprm/eta.py)", "](../../erprm/eta.py.md)"),
    ],
)
def test_a_link_of_a_file_leads_to_the_same_place_on_the_site(file: str, link: str, expected: str) -> None:
    assert links.with_links_of_site(link, file) == expected


def test_files_that_pages_link_to_become_pages_and_so_do_those_that_these_link_to(tmp_path: Path) -> None:
    for name, text in {
        "README.md": "[a](docs/a.md), [cells](cells.ipynb)",
        "CHANGELOG.md": "",
        "examples/one/README.md": "[code](../../code.py), [back](../../docs/a.md)",
        "code.py": "print(1)\n",
        "cells.ipynb": '{"cells": [{"cell_type": "markdown", "source": ["# One\\n", "two"]},'
        ' {"cell_type": "code", "source": ["print(1)"]}]}',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = links.files_beside_docs({"docs/a.md": "[one](../examples/one/README.md)"}, tmp_path)
    assert sorted(found) == ["CHANGELOG.md", "README.md", "cells.ipynb", "code.py", "examples/one/README.md"]
    assert found["code.py"] == "# code.py\n\n```py\nprint(1)\n```\n"
    assert found["cells.ipynb"] == "# One\ntwo\n\n```python\nprint(1)\n```\n"
