import re
import time
from pathlib import Path

import pytest
from jsonargparse import get_loader

from erprm.cli import main
from erprm.cli.yaml_files import bound_yaml_aliases, check_configuration

TEN = ", ".join(["*a{0}"] * 10)


def bomb(line: str) -> str:
    """Nine levels, each of which stands for ten times the one below."""
    first = "a0: &a0 {x: 1}\n"
    return first + "".join(line.format(level, TEN.format(level - 1)) for level in range(1, 10)) + "stop: *a9\n"


BOMBS = {
    "lists": (bomb("a{0}: &a{0} [{1}]\n"), r"its aliases stand for [0-9,]{13,} values; at most 1,000,000 are read"),
    "merge keys": (bomb("a{0}: &a{0} {{<<: [{1}]}}\n"), r"its aliases stand for [0-9,]{13,} values"),
    "itself": ("stop: &a [*a]\n", "an alias stands for what it is a part of"),
    "nested": ("stop: " + "[" * 100_000, "bomb.yaml, line 1: exceeded maximum nesting depth"),
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


# What is wrong with a file, its bytes, and what a command says of it.
BROKEN = {
    "bracket": (b"model: m\nstop: [1, 2\nseed: 1\n", "line 3: did not find expected ',' or ']'"),
    "list": (b"- a\n- b\n", "holds a list; expected keys and their values"),
    "word": (b"hello\n", "holds a single value; expected keys"),
    "empty": (b"# a comment\n", "holds no key; expected keys"),
    "twice": (b"seed: 1\nmodel: m\nseed: 2\n", "line 3: 'seed' is set twice, first in line 1"),
    "twice inside": (b"prompt:\n  chat: true\n  chat: false\n", "line 3: 'chat' is set twice, first in line 2"),
    "tab": (b"prompt:\n\tchat: true\n", "line 2: found character that cannot start any token; YAML is indented with"),
    "number as key": (b"model: m\n3: 4\n", "line 2: a key is '3'; keys are texts"),
    "tag": (b"model: m\nseed: !!python/name:os.system\n", "line 2: could not determine a constructor"),
    "two documents": (b"model: m\n---\nmodel: n\n", "line 2: but found another document"),
    "control": (b"model: m\nseed: \0\n", "line 2: control characters are not allowed"),
    "bytes": (b"model: caf\xe9\n", "byte 11 is not UTF-8 text"),
}


@pytest.mark.parametrize(
    "command", [["rollout"], ["fit"], ["estimate", "fit"], ["data", "stats", "x.jsonl"]], ids=" ".join
)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], name: str
) -> None:
    content, message = BROKEN[name]
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--config", str(tmp_path / "c.yaml")])
    said = capsys.readouterr().err
    assert said.startswith(f"erprm {' '.join(command[:2]).removesuffix(' x.jsonl')}: ")
    assert f"c.yaml{'' if message.startswith(('holds', 'byte')) else ','}" in said
    assert message in said
    assert len(said.splitlines()) <= 2


def test_merge_keys_and_equal_keys_of_different_mappings_are_read() -> None:
    check_configuration("a: &a {x: 1}\nb: {<<: *a, y: 1}\nc: {<<: [*a], y: 1}\n", "c.yaml")
