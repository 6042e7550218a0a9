from pathlib import Path

import pytest

from erprm.cli import main
from erprm.cli.parser import with_suggestion


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that ends with a usage error prints."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_an_unknown_key_is_answered_with_the_known_key_it_resembles() -> None:
    message = with_suggestion("Option 'etaa' is not accepted", ["data.eta", "data.seed"])
    assert message == "Option 'etaa' is not accepted\n  did you mean 'eta'?"


def test_other_messages_are_left_alone() -> None:
    assert with_suggestion("no such file", ["file"]) == "no such file"


def test_an_unknown_command_is_answered_with_the_known_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rolout"]) == 2
    assert "unknown command 'rolout'; did you mean 'rollout'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            "model:\n  backbone: lm\ndata:\n  rollouts: r\n  etaa: 2\n",
            ["'etaa' is not accepted", "did you mean 'eta'?"],
        ),
        (
            "model:\n  backbone: lm\ndata:\n  rollouts: r\n  eta: word\n",
            ["eta is 'word'", "it must be a number, inf, -inf, soft (0)"],
        ),
        ("model:\n  backbon: lm\n", ["'backbon' is not accepted", "did you mean 'backbone'?"]),
        ("trainer:\n  max_epoch: 2\n", ["max_epoch", "did you mean 'max_epochs'?"]),
        ("model:\n  backbone: lm\ndata:\n  rollouts: r\n  labels: soft_\n", ["soft_", "er", "outcome"]),
    ],
)
def test_a_wrong_config_ends_fit_before_any_weight_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, expected: list[str]
) -> None:
    (tmp_path / "c.yaml").write_text(config, encoding="utf-8")
    error = error_of(capsys, "fit", "--config", str(tmp_path / "c.yaml"))
    for text in expected:
        assert text in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--modell", "lm", "--output_dir", "out"], ["modell", "did you mean 'model'?"]),
        (["--model", "lm", "--output_dir", "out", "--completions_per_step", "0"], ["completions_per_step is 0"]),
        (["--model", "lm", "--output_dir", "out", "--style", "line"], ["line", "lines"]),
        (
            ["--model", "lm", "--output_dir", "out", "--problems_per_shard", "9" * 19],
            ["problems_per_shard is 9999999999999999999; it must be an integer of 64 bits"],
        ),
        (["--model", "lm", "--output_dir", "out", "--temperature", "0"], ["temperature is 0"]),
    ],
)
def test_wrong_keys_end_rollout_with_a_clear_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: list[str]
) -> None:
    error = error_of(capsys, "rollout", *arguments)
    for text in expected:
        assert text in error
