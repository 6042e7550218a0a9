"""docs/code-tour.md names files and definitions that are there."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs/code-tour.md"
WALK_OF_ETA = "How eta becomes a gradient"
MOST_FILES_OF_ETA = 8

_ENTRY = re.compile(r"`(?P<file>[^`\s]+\.py)`: (?P<names>`[\w.]+`(?:,\s+`[\w.]+`)*)\.\n")


@dataclass(frozen=True)
class Entry:
    """A numbered item of a walk: a file, and the names to look at in it."""

    walk: str
    file: str
    names: tuple[str, ...]


def entries_of(page: str) -> list[Entry]:
    entries = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        walk = section.splitlines()[0]
        for item in re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]:
            match = _ENTRY.match(item)
            if match is None:
                raise ValueError(f"{walk}: {item[:60]!r} is not `path/file.py`: `name`, `name`.")
            entries.append(Entry(walk, match["file"], tuple(re.findall(r"`([\w.]+)`", match["names"]))))
    return entries


def names_defined_in(source: str) -> set[str]:
    """Functions, classes and constants of a module, and what classes define, as ``Class.name``."""
    return set(_definitions(ast.parse(source).body, prefix=""))


def _definitions(body: list[ast.stmt], prefix: str) -> list[str]:
    names = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(prefix + node.name)
        elif isinstance(node, ast.ClassDef):
            names += [prefix + node.name, *_definitions(node.body, f"{prefix}{node.name}.")]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [prefix + target.id for target in targets if isinstance(target, ast.Name)]
    return names


def missing_from(entry: Entry, root: Path) -> list[str]:
    """What an entry names that is not there."""
    file = root / entry.file
    if not file.is_file():
        return [entry.file]
    defined = names_defined_in(file.read_text(encoding="utf-8"))
    return [f"{entry.file}: {name}" for name in entry.names if name not in defined]


ENTRIES = entries_of(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.file}:{entry.names[0]}")
def test_every_file_and_name_of_the_tour_exists(entry: Entry) -> None:
    assert missing_from(entry, REPOSITORY) == []


def test_each_walk_has_entries() -> None:
    assert list(dict.fromkeys(entry.walk for entry in ENTRIES)) == [
        WALK_OF_ETA,
        "How a text becomes step scores",
        "Add an engine",
        "Add a PRM adapter",
        "Change how best-of-N selects",
    ]


def test_the_walk_of_eta_enters_few_files() -> None:
    files = {entry.file for entry in ENTRIES if entry.walk == WALK_OF_ETA}
    assert len(files) <= MOST_FILES_OF_ETA


# The checks themselves: each must be able to fail. --------------------------------------------------------------------


def test_a_file_or_name_that_is_gone_is_found(tmp_path: Path) -> None:
    source = "HERE: int = 1\nALSO = 2\nclass A:\n    FIELD = 3\n    def method(self):\n        local = 4\n"
    (tmp_path / "there.py").write_text(source)
    present = ("HERE", "ALSO", "A", "A.FIELD", "A.method")
    assert missing_from(Entry("walk", "there.py", present), tmp_path) == []
    assert missing_from(Entry("walk", "there.py", ("method", "A.other", "local")), tmp_path) == [
        "there.py: method",
        "there.py: A.other",
        "there.py: local",
    ]
    assert missing_from(Entry("walk", "gone.py", ("A",)), tmp_path) == ["gone.py"]


def test_an_entry_of_another_form_is_refused() -> None:
    assert entries_of("## Walk\n1. `a.py`: `b`,\n   `C.d`.\n   Text.\n") == [Entry("Walk", "a.py", ("b", "C.d"))]
    with pytest.raises(ValueError, match=r"Walk: .* is not `path/file\.py`"):
        entries_of("## Walk\n1. See `a.py`.\n")
