"""``examples/quickstart.ipynb``: stored without outputs, and its cells run from the first to the last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

CELLS: list[dict[str, Any]] = json.loads((REPOSITORY / "examples/quickstart.ipynb").read_text(encoding="utf-8"))[
    "cells"
]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def program_of(cells: list[str]) -> str:
    """The cells as one program, in which ``!command`` runs a command that must end well."""
    lines = "\n".join(cells).splitlines()
    return "\n".join(
        f"import subprocess; subprocess.run({line[1:]!r}, shell=True, check=True)" if line.startswith("!") else line
        for line in lines
    )


def run(cells: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ERPRM_CACHE": str(folder / "cache"),
        "MPLBACKEND": "agg",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # of `erprm`
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])),
    }
    return subprocess.run(
        [sys.executable, "-c", program_of(cells)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )


def test_it_is_stored_without_outputs() -> None:
    assert all(not cell["outputs"] for cell in CELLS if cell["cell_type"] == "code")
    assert all(cell["execution_count"] is None for cell in CELLS if cell["cell_type"] == "code")
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_the_first_cell_installs_nothing_where_the_package_is(tmp_path: Path) -> None:
    forbid = "import subprocess; subprocess.run = None"
    ended = run([forbid, CODE[0]], tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_the_cells_run_from_an_empty_folder(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ended = run([*CODE, "figure.savefig('figure.png')"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    # The record that is shown has a completion with reward 1, which makes the hard label of its step 1.
    (hard,) = [line for line in ended.stdout.splitlines() if line.startswith("eta  inf")]
    assert 1.0 in json.loads(hard.removeprefix("eta  inf"))
    assert (tmp_path / "figure.png").stat().st_size > 0
    assert (tmp_path / "quickstart/report.html").is_file()
