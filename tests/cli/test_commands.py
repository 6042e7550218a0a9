from dataclasses import dataclass

import pytest

from erprm.cli.commands import parse_settings


@dataclass
class Settings:
    """Settings of a command that does not exist.

    Attributes:
        folder: a text.
        quick: a switch.
    """

    folder: str = "here"
    quick: bool = False


@pytest.mark.parametrize(
    ("arguments", "quick", "folder"),
    [
        ([], False, "here"),
        (["--quick"], True, "here"),
        (["--quick", "--folder", "there"], True, "there"),
        (["--folder", "there", "--quick"], True, "there"),
        (["--quick", "false", "--folder", "there"], False, "there"),
        (["--quick=true"], True, "here"),
    ],
)
def test_a_switch_needs_no_value_and_takes_one(arguments: list[str], quick: bool, folder: str) -> None:
    assert parse_settings(Settings, ["nothing", *arguments]) == Settings(folder, quick)
