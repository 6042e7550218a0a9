"""A training that is stopped and resumed is, bit for bit, the training that was not stopped."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.models.training.killed_training import SCENARIOS, read_journal


def run_killed_training(folder: Path, kills: int, *scenarios: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.models.training.killed_training", str(folder), str(kills), *scenarios],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )


def check_that_nothing_differs(folder: Path) -> None:
    # A batch by its number, a validation by its optimizer step.
    def key(row: dict[str, Any]) -> tuple[str, int]:
        return ("batch", row["batch"]) if "batch" in row else ("validation", row["validation"])

    expected = {key(row): row for row in read_journal(folder / "whole")}
    found = read_journal(folder / "killed")
    assert {key(row) for row in found} == set(expected)
    # Losses, learning rates, epochs and the step values are logged at.
    assert [row for row in found if row != expected[key(row)]] == []
    assert (folder / "killed/weights.txt").read_text() == (folder / "whole/weights.txt").read_text()
    leftovers = [path.name for path in folder.rglob(".*.tmp")]
    assert leftovers == []


def test_two_interruptions_change_no_loss_no_validation_and_no_weight(tmp_path: Path) -> None:
    scenarios = ("accumulated", "signals", "policy")
    run_killed_training(tmp_path, 2, *scenarios)
    for scenario in scenarios:
        check_that_nothing_differs(tmp_path / scenario)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ten_interruptions_change_no_loss_no_validation_and_no_weight(tmp_path: Path, scenario: str) -> None:
    run_killed_training(tmp_path, 10, scenario)
    check_that_nothing_differs(tmp_path / scenario)
