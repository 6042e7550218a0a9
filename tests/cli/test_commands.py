import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from erprm.cli.commands import POSITIONALS, key, parse_settings, with_home
from erprm.errors import UsageError
from erprm.raft import RaftConfig


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


@dataclass
class Places:
    """Settings with positional ones.

    Attributes:
        files: some files.
        from_where: under a key that is no name.
        on_error: a key with an underscore.
        quick: a switch.
    """

    files: list[str] = field(metadata=POSITIONALS)
    from_where: str = field(default="here", metadata=key("from"))
    on_error: str = "stop"
    quick: bool = False


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b-c", "--from", "there", "--on-error", "skip-it"],
        ["a", "b-c", "--from=there", "--on-error=skip-it"],
        ["--from", "there", "--on_error", "skip-it", "a", "b-c"],
    ],
)
def test_positional_settings_stand_before_or_after_keys_with_dashes_or_underscores(arguments: list[str]) -> None:
    assert parse_settings(Places, ["nothing", *arguments]) == Places(["a", "b-c"], "there", "skip-it")


def test_a_switch_may_stand_before_positional_settings() -> None:
    assert parse_settings(Places, ["nothing", "--quick", "a"]) == Places(["a"], quick=True)


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("from: there\nquick: true\n")
    assert parse_settings(Places, ["nothing", "a", "-c", str(tmp_path / "c.yaml")]) == Places(
        ["a"], "there", quick=True
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: files"),
        (["a", "--form", "x"], "did you mean 'from'?"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_settings(Places, ["nothing", *arguments])


def test_a_tilde_at_the_start_of_a_value_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = {"path": "~/a", "many": ["~/b", "c~/d"], "inner": {"model": "~/e"}, "number": 3, "text": "~ is no path"}
    expected = {"path": "/home/me/a", "many": ["/home/me/b", "c~/d"], "inner": {"model": "/home/me/e"}, "number": 3}
    assert with_home(given) == {**expected, "text": "~ is no path"}


def test_settings_of_another_command_are_handed_on_as_they_are_written(tmp_path: Path) -> None:
    checkpoint = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_last": True}}
    scheduler = {"class_path": "erprm.models.CosineWithWarmup", "init_args": {"warmup": 0.08}}
    sft = {"trainer": {"callbacks": [checkpoint]}, "model": {"scheduler": scheduler}}
    file = tmp_path / "raft.json"
    file.write_text(json.dumps({"model": "m", "output_dir": "o", "scorers": {"er": "prm"}, "sft": sft}), "utf-8")
    config = parse_settings(RaftConfig, ["raft", "--config", str(file)])
    assert config.sft == sft
    assert parse_settings(RaftConfig, ["raft", "--config", str(file), "--sft.trainer", "{}"]).sft["trainer"] == {}
