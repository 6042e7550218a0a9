"""YAML whose aliases stand for more than a machine holds is refused by every command, at once."""

import re
import time
from pathlib import Path

import pytest
from jsonargparse import get_loader

from erprm.cli import main
from erprm.cli.yaml_aliases import bound_yaml_aliases

TEN = ", ".join(["*a{0}"] * 10)


def bomb(line: str) -> str:
    """Nine levels, each of which stands for ten times the one below."""
    first = "a0: &a0 {x: 1}\n"
    return first + "".join(line.format(level, TEN.format(level - 1)) for level in range(1, 10)) + "stop: *a9\n"


BOMBS = {
    "lists": (bomb("a{0}: &a{0} [{1}]\n"), r"its aliases stand for [0-9,]{13,} values; at most 1,000,000 are read"),
    "merge keys": (bomb("a{0}: &a{0} {{<<: [{1}]}}\n"), r"its aliases stand for [0-9,]{13,} values"),
    "itself": ("stop: &a [*a]\n", "an alias stands for what it is a part of"),
    "nested": ("stop: *" + "[" * 100_000, "Problems parsing config: "),
}


@pytest.mark.parametrize("command", ["rollout", "fit", "export"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_aliases_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    text, message = BOMBS[name]
    (tmp_path / "bomb.yaml").write_text(text)
    started = time.monotonic()
    with pytest.raises(SystemExit, match="2"):
        main([command, "--config", str(tmp_path / "bomb.yaml")])
    assert time.monotonic() - started < 30.0
    assert re.search(message, capsys.readouterr().err)


def test_aliases_that_stand_for_little_are_read() -> None:
    bound_yaml_aliases()
    assert get_loader("yaml")("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": 2},
    }
