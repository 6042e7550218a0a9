import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.runs.lock import InUseError, sole_use, sole_writer
from tests.working_folder import make_working_folder

HOLDER = """
import sys, time
from pathlib import Path
from erprm.runs.atomic import whole_file
from erprm.runs.lock import sole_use, sole_writer
kind, path, *part = sys.argv[1:]
with sole_use(Path(path), *part) if kind == "folder" else sole_writer(Path(path)):
    with whole_file(Path(path, "a.txt") if kind == "folder" else Path(path)) as file:
        file.write(b"half")
        file.flush()
        print("held", flush=True)
        time.sleep(600)
"""


@contextmanager
def holder(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing into a folder or a file."""
    command = [sys.executable, "-c", HOLDER, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_command_in_one_folder_is_refused_in_one_line_with_process_and_command_of_the_first(
    tmp_path: Path,
) -> None:
    with holder("folder", tmp_path) as first, pytest.raises(InUseError) as refusal, sole_use(tmp_path):
        pass
    expected = f"{tmp_path} is in use by process {first.pid} (-c folder {tmp_path}); wait for it to end"
    assert str(refusal.value).startswith(expected)
    assert "\n" not in str(refusal.value)


def test_a_killed_holder_holds_nothing_and_what_it_left_is_swept(tmp_path: Path) -> None:
    with holder("file", tmp_path / "a.txt") as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert len(list(tmp_path.iterdir())) == 2  # the lock, and half a file
    with sole_writer(tmp_path / "a.txt"):
        assert [path.name for path in tmp_path.iterdir()] == [".a.txt.lock"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        (None, "0-of-2", True),
        ("0-of-2", None, True),
        ("0-of-2", "0-of-2", True),
        ("0-of-2", "0-of-3", True),
        ("0-of-2", "1-of-2", False),
    ],
)
def test_parts_of_one_division_share_a_folder_and_nothing_else_does(
    tmp_path: Path, first: str | None, second: str | None, is_refused: bool
) -> None:
    with holder("folder", tmp_path, *filter(None, [first])) as process:
        if is_refused:
            with pytest.raises(InUseError, match=f"process {process.pid}"), sole_use(tmp_path, second):
                pass
        else:
            with sole_use(tmp_path, second):
                pass
    with sole_use(tmp_path, second):
        pass


def test_a_folder_made_for_a_lock_is_gone_if_nothing_was_put_into_it(tmp_path: Path) -> None:
    with sole_use(tmp_path / "new"):
        assert (tmp_path / "new").exists()
    with sole_use(tmp_path / "full"):
        (tmp_path / "full/a").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "a"]


def test_a_child_that_inherits_the_lock_holds_on_to_the_folder(tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:
        with sole_use(tmp_path) as descriptor:
            child = subprocess.Popen(["sleep", "600"], pass_fds=[descriptor])
            (tmp_path / "child").write_text(str(child.pid))
            os._exit(9)  # as a kill: nothing is released
    os.waitpid(parent, 0)
    with pytest.raises(InUseError, match=f"process {parent}"), sole_use(tmp_path):
        pass
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    for _ in range(100):
        try:
            with sole_use(tmp_path):
                return
        except InUseError:
            time.sleep(0.1)
    pytest.fail("the lock outlived its holders")


def test_where_files_cannot_be_locked_this_is_said_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with sole_use(tmp_path), sole_writer(tmp_path / "a.txt"):
        pass
    assert re.search(rf"{tmp_path} cannot be locked here \(.*fcntl.*\): see to it that no second command", caplog.text)


@pytest.fixture(scope="module")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_working_folder(tmp_path_factory.mktemp("work"))
    (folder / "in.jsonl").write_text('{"prompt": "What?", "completions": ["a"], "labels": [true]}\n')
    (folder / "fit.yaml").write_text(
        "trainer:\n  accelerator: cpu\n  logger: false\n  enable_checkpointing: false\n  callbacks:\n"
        "    - {class_path: erprm.callbacks.ExportHF, init_args: {output: trained}}\n"
        "model: {backbone: my-llama}\n"
        "data: {rollouts: rollouts.parquet, cache_dir: cache}\n"
    )
    (folder / "held_out.jsonl").write_text('{"question": "What is 9 and 9?", "answer": "18"}\n')
    (folder / "raft.yaml").write_text(
        "{model: my-llama, selector: oracle, output_dir: out, rounds: 1, prompts_per_round: 2,\n"
        "problems: {source: jsonl, path: problems.jsonl}, held_out: {source: jsonl, path: held_out.jsonl}}\n"
    )
    return folder


# tests/ablation/test_ablate.py tries `erprm ablate`, which reads its configuration in a slow child process.
PROBLEMS = ["--source", "jsonl", "--path", "problems.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "locked"),
    [
        (["convert", "in.jsonl", "out.jsonl"], "file out.jsonl"),
        (["demo", "--quick", "--output_dir", "out"], "folder out"),
        (["rollout", "--model", "my-llama", *PROBLEMS, "--output_dir", "out"], "folder out"),
        (["score", "--model", "prm", "--jsonl", "solutions.jsonl", "out.jsonl"], "folder .out.jsonl.unfinished"),
        (
            ["search", "--model=my-llama", "--scorer=prm", *PROBLEMS, "--output_dir=out", "--budgets=[512]"],
            "folder out",
        ),
        (["raft", "--config", "raft.yaml"], "folder out"),
        (["fit", "--config", "fit.yaml"], "file trained"),
        (["export", "--model.backbone", "my-llama", "--ckpt_path", "a.ckpt", "--output", "trained"], "file trained"),
    ],
    ids=lambda argument: argument[0] if isinstance(argument, list) else "",
)
def test_commands_refuse_a_place_in_use_in_one_line(
    filled_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    locked: str,
) -> None:
    monkeypatch.chdir(filled_folder)
    with holder(*locked.split()) as first:
        assert main(arguments) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"erprm {arguments[0]}: ")]
    assert len(told) == 1
    assert f" is in use by process {first.pid} (-c {locked}); wait for it to end, or give another place" in told[0]
