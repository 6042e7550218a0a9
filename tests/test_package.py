"""The installed package: light to import, one version, and a command line that answers at once."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import pytest

import erprm
from erprm.cli.stored_help import read_help

# What takes seconds to import, and which `import erprm` and `erprm --help` must therefore do without.
HEAVY_LIBRARIES = ["torch", "lightning", "transformers", "torchmetrics", "datasets", "jsonargparse", "numpy"]

RUN_AND_LIST_HEAVY_LIBRARIES = f"""
import sys
{{code}}
print("loaded:", *[name for name in {HEAVY_LIBRARIES!r} if name in sys.modules])
"""


def run_python(*arguments: str) -> str:
    """Standard output of a fresh interpreter, which must end well."""
    finished = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=900, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def heavy_libraries_loaded_by(code: str) -> list[str]:
    last_line = run_python("-c", RUN_AND_LIST_HEAVY_LIBRARIES.format(code=code)).splitlines()[-1]
    return last_line.removeprefix("loaded:").split()


def test_import_loads_no_heavy_library() -> None:
    assert heavy_libraries_loaded_by("import erprm") == []


def test_the_check_for_heavy_libraries_sees_them() -> None:
    assert "torch" in heavy_libraries_loaded_by("import erprm.losses")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_command_line_answers_without_heavy_libraries(option: str) -> None:
    code = f"""
from erprm.cli import main
try:
    main([{option!r}])
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""
    assert heavy_libraries_loaded_by(code) == []


@pytest.mark.parametrize(
    "command",
    ["quickstart", "init", "score", "calibrate", "ablate", "export", "raft", "grpo", "rollout", "search", "merge",
     "convert", "data stats", "estimate fit", "estimate rollout", "report", "demo", "fit", "validate", "test",
     "predict", "sft"],
)  # fmt: skip
def test_help_of_a_command_loads_neither_torch_nor_what_is_built_on_it(command: str) -> None:
    code = f"""
from erprm.cli import main
try:
    main({[*command.split(), "--help"]!r})
except SystemExit as leaving:
    assert not leaving.code, leaving.code
"""
    assert set(heavy_libraries_loaded_by(code)) <= {"jsonargparse", "numpy"}


def test_stored_help_of_other_versions_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--trainer.max_epochs" in (read_help("fit") or "")
    monkeypatch.setattr("erprm.cli.stored_help.versions", lambda: "lightning 2.6.5, jsonargparse 4.48.0")
    assert read_help("fit") is None


@pytest.mark.parametrize("package", ["metrics", "rewards", "losses"])
def test_formulas_load_without_models(package: str) -> None:
    code = f"""
import erprm.{package}
import sys
assert not {{"lightning", "transformers", "sympy", "torchmetrics"}} & set(sys.modules)
"""
    run_python("-c", code)


def test_help_names_the_commands() -> None:
    text = run_python("-m", "erprm", "--help")
    for command in ("fit", "validate", "test", "predict", "score", "rollout", "convert", "data", "demo"):
        assert re.search(rf"\b{command}\b", text), f"{command} is not in the help"


def test_module_prints_the_version() -> None:
    assert erprm.__version__ in run_python("-m", "erprm", "--version").split()


def test_version_agrees_with_the_metadata() -> None:
    try:
        installed = version("erprm")
    except PackageNotFoundError:
        pytest.skip("erprm is not installed here, only on the path")
    assert installed == erprm.__version__


def test_package_declares_that_it_is_typed() -> None:
    assert files("erprm").joinpath("py.typed").is_file()
