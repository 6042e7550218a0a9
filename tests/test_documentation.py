"""Runs what README.md, the page of the examples and the pages under docs/ tell the reader to run.

A comment directly above a code block says what becomes of the block:

    <!-- run -->         python is executed; a bash block holds `erprm` commands, which are run
    <!-- output -->      what the block run before it printed
    <!-- file: NAME -->  the block becomes the file NAME in the working folder

A page's blocks share a working folder, filled by `tests/working_folder.py`, but no names: each is complete by itself.
"""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from erprm.cli import COMMANDS, main
from tests.conftest import REPOSITORY, load_script
from tests.working_folder import make_working_folder

_PAGES = (REPOSITORY / "README.md", REPOSITORY / "examples/README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
PAGES = [page for page in _PAGES if page.exists()]
# The snippets of these pages use a package of the extra `dev` that is no dependency.
NEEDS = {"rl.md": "trl", "serving.md": "starlette"}

_BLOCK = re.compile(
    r"^(?:<!-- *(?P<mark>[^\n]*?) *-->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\((?P<path>[^)#:\s]*)(?:#(?P<anchor>[^)\s]*))?\)")


@dataclass(frozen=True)
class Block:
    """A code block of a page; ``mark`` is empty, ``run``, ``output`` or ``file``, with ``file_name``."""

    page: Path
    line: int
    language: str
    mark: str
    file_name: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}, line {self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        mark, _, file_name = (match["mark"] or "").partition(": ")
        block = Block(page, line, match["language"], mark, file_name, match["code"])
        if mark not in ("", "run", "output", "file") or (mark == "file") != bool(file_name):
            raise ValueError(f"{block.place}: <!-- {match['mark']} --> is not run, output or file: NAME")
        blocks.append(block)
    return blocks


def commands_of(block: Block) -> list[list[str]]:
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def run_python(block: Block) -> None:
    # The line numbers of a traceback are those of the page.
    exec(compile("\n" * block.line + block.code, block.page, "exec"), {"__name__": "__main__"})


def run_commands(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands_of(block):
        # The working folder, which commands put there, is gone after the page.
        monkeypatch.setattr(sys, "path", list(sys.path))
        assert words[0] == "erprm", f"{block.place}: only erprm commands are run, not {words[0]!r}"
        assert main(words[1:]) == 0


def run_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = ""
    for block in blocks_of(page):
        if block.mark == "file":
            Path(block.file_name).write_text(block.code, encoding="utf-8")
            if block.language == "python":  # another page may have had a module of this name
                sys.modules.pop(Path(block.file_name).stem, None)
        elif block.mark == "output":
            assert printed == block.code, block.place
        elif block.mark == "run":
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                if block.language == "python":
                    run_python(block)
                else:
                    run_commands(block, monkeypatch)
            printed = stdout.getvalue()


@pytest.fixture(scope="module")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_working_folder(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def working_folder(filled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(filled_folder, tmp_path / "work")
    monkeypatch.setenv("ERPRM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def page_name(page: Path) -> str:
    return page.name if page.parent.name != "examples" else "examples"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.mark for block in blocks_of(page))], ids=page_name
)
@pytest.mark.usefixtures("working_folder")
def test_what_a_page_says_to_run_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.name in NEEDS:
        pytest.importorskip(NEEDS[page.name])
    if page == REPOSITORY / "README.md":
        shutil.rmtree("prm")  # The page trains it.
    run_page(page, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_on_a_page_is_run(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language != "python" or block.mark, f"{block.place}: put <!-- run --> above the block"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_and_configs_on_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command in re.findall(r"^\s*(?:\$ )?erprm ([\w-]+)", text, re.MULTILINE):
        assert command in COMMANDS
    for config in re.findall(r"configs/[\w.-]+\.yaml", text):
        assert (REPOSITORY / config).is_file(), config


def anchors_of(page: Path) -> set[str]:
    """The anchors that a Markdown viewer makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = page.parent / match["path"] if match["path"] else page
        assert target.exists(), match[0]
        assert match["anchor"] is None or match["anchor"] in anchors_of(target), match[0]


def test_the_page_of_configuration_keys_and_the_stored_help_are_up_to_date() -> None:
    # In a process of its own: the help names the subclasses that are loaded, those that tests define included.
    generator = str(REPOSITORY / "docs/generate_configuration.py")
    check = subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr


def test_an_outdated_page_of_configuration_keys_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load_script(REPOSITORY / "docs/generate_configuration.py")
    monkeypatch.setattr(generator, "PAGE", tmp_path / "configuration.md")
    monkeypatch.setattr(generator, "LIGHTNING_COMMANDS", [])
    monkeypatch.setattr(generator, "FOLDER", tmp_path)
    monkeypatch.setattr(generator, "built_help", lambda command: f"help of {command}")
    with pytest.raises(SystemExit, match="out of date"):
        generator.main(["--check"])
    generator.main([])
    generator.main(["--check"])


def test_every_command_has_its_keys_on_the_page() -> None:
    headings = re.findall(r"^## erprm (.+)$", (REPOSITORY / "docs/configuration.md").read_text(), re.MULTILINE)
    assert {command.split()[0] for heading in headings for command in heading.split(", ")} == set(COMMANDS)
