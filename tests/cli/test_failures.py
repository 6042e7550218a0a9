import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from erprm.cli import COMMANDS, main
from erprm.cli.failures import DEBUG_VARIABLE, is_debugging, is_of_the_user, lines_of
from erprm.errors import FailedRunError, InputError, MissingPackageError, UserError
from erprm.rewards import binary_reward


def raised_by(code: Callable[[], object]) -> Exception:
    try:
        code()
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def test_the_kinds_of_errors_are_caught_as_the_built_in_ones_they_were() -> None:
    pairs = [(InputError, ValueError), (FailedRunError, RuntimeError), (MissingPackageError, ImportError)]
    for kind, built_in in pairs:
        assert issubclass(kind, built_in)
        assert issubclass(kind, UserError)


@pytest.mark.parametrize(
    "code",
    [
        lambda: (_ for _ in ()).throw(InputError("a setting")),
        lambda: Path("no such file").read_text(encoding="utf-8"),
        lambda: Path("/").read_text(encoding="utf-8"),
        lambda: json.loads("{"),
        lambda: b"\xff".decode(),
        lambda: binary_reward(None, 1.0),  # type: ignore[arg-type]
        lambda: __import__("no_such_package"),
    ],
    ids=["own", "missing", "folder", "json", "utf-8", "refused argument", "package"],
)
def test_what_the_user_can_put_right_is_told_in_lines(code: Callable[[], object]) -> None:
    assert is_of_the_user(raised_by(code))


@pytest.mark.parametrize(
    "code",
    [
        lambda: int("x"),
        lambda: [].pop(),
        lambda: (_ for _ in ()).throw(ValueError("raised outside of the package")),
        lambda: binary_reward(),  # type: ignore[call-arg]
        lambda: __import__("erprm.no_such_module"),
        lambda: lines_of(None, 3),  # type: ignore[arg-type]
    ],
    ids=["value", "index", "raise elsewhere", "wrong call", "own module", "operation in the package"],
)
def test_a_fault_of_the_program_keeps_its_traceback(code: Callable[[], object]) -> None:
    assert not is_of_the_user(raised_by(code))


def test_a_long_message_keeps_its_first_line_and_its_last_ones() -> None:
    lines = lines_of(InputError("\n".join("abcdefg")), "erprm x: ")
    assert lines == ["erprm x: a", "  ... (3 more lines; --debug shows them)", "e", "f", "g"]


def test_an_error_of_a_file_names_it() -> None:
    error = raised_by(lambda: Path("/no/such").read_text(encoding="utf-8"))
    assert lines_of(error, "") == ["/no/such: no such file or directory"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--config", "missing.yaml"],
        ["fit", "--config", "broken.yaml"],
        ["fit", "--config", "word.yaml"],
        ["fit", "--trainer.max_epoch", "2"],
        ["fit", "--config", "no-data.yaml"],
        ["test", "--config", "folder"],
        ["sft", "--model.backbone", "missing/model"],
        ["score", "--model", "missing/model/", "--question", "a", "--solution", "b"],
        ["rollout", "--model", "missing/model/", "--output_dir", "file.txt"],
        ["search", "--model", "m", "--scorer.class_path", "no.such", "--output_dir", "out"],
        ["raft", "--model", "missing/model/", "--output_dir", "out", "--selector", "oracle"],
        ["grpo", "--model", "missing/model/", "--output_dir", "out", "--scorer", "missing/model/"],
        ["ablate", "--fit", "missing.yaml", "--pool", "missing.jsonl"],
        ["export", "--ckpt_path", "missing.ckpt"],
        ["convert", "missing.jsonl", "out.parquet"],
        ["data", "stats", "missing.jsonl"],
        ["merge", "out", "missing"],
        ["estimate", "fit", "--config", "missing.yaml"],
        ["estimate", "rollout", "--model", "m"],
        ["choose-eta", "missing"],
        ["calibrate", "--model", "missing/model/", "--data", "missing.jsonl", "--output", "calibration.json"],
        ["report", "missing"],
        ["demo", "--output_dir", "file.txt"],
        ["init", "nosuch"],
        ["init", "fit", "file.txt"],
        ["quickstart", "file.txt"],
        ["serve", "--policy", "missing/model/", "--scorer", "missing/model/", "--port", "0"],
    ],
    ids=" ".join,
)
def test_every_command_tells_the_user_in_a_few_lines(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, text in {
        "broken.yaml": "data: [\n",
        "word.yaml": "model: {backbone: lm}\ndata: {eta: word}\n",
        "no-data.yaml": "model: {backbone: lm}\ndata: {rollouts: missing}\ntrainer: {max_epochs: 1, accelerator: cpu, "
        "logger: false, enable_checkpointing: false, enable_model_summary: false}\n",
        "file.txt": "",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    try:
        status: object = main(arguments)
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    said = capsys.readouterr().err
    name = " ".join(arguments[: 2 if arguments[0] in ("data", "estimate") else 1])
    own = said[said.index(f"erprm {name}: ") :].splitlines()
    assert 1 <= len(own) <= 5
    assert not any("Traceback" in line or "usage:" in line for line in own)


def test_the_table_of_commands_is_all_tested() -> None:
    marks = test_every_command_tells_the_user_in_a_few_lines.pytestmark  # type: ignore[attr-defined]
    assert set(COMMANDS) - {arguments[0] for arguments in marks[0].args[1]} == {"validate", "predict"}


@pytest.mark.parametrize(("option", "variable"), [(["--debug"], "0"), ([], "1")])
def test_debugging_shows_the_traceback_of_an_error_of_the_users(
    option: list[str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, variable)
    assert main(["report", "missing", *option]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert re.search(r"^erprm report: 'missing' is not a folder", said, re.MULTILINE)
    assert is_debugging() == (variable == "1")


def test_a_fault_of_the_program_ends_the_process_with_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def grade(prediction, gold):\n    return 1.0\n\n\n1 / 0\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "erprm",
        "rollout",
        "--model",
        "m",
        "--output_dir",
        "out",
        "--grading",
        "mine.grade",
    ]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert finished.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
