import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import erprm
from erprm.runs.child import output_of_command, run_command

# What stands in for a command that takes its time: says its id, and what it is told to do.
WAITING = (
    "import os, signal, sys, time\n"
    "def end(number, frame):\n    print('saved', flush=True)\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
)
# Of a shell's background job a child inherits that interrupts are ignored.
PARENT = f"""
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from erprm.runs.child import run_command
run_command(["-c", {WAITING!r}], Path(sys.argv[1]), launcher=[sys.executable])
"""


def first_line_of(log: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if log.exists() and "\n" in (text := log.read_text(encoding="utf-8")):
            return text.splitlines()[0]
        time.sleep(0.05)
    raise AssertionError("the child has said nothing")


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def start_parent(log: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PARENT, str(log)], stderr=subprocess.DEVNULL)


def test_a_command_is_this_very_package_and_reads_nothing_of_the_working_folder_by_accident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "erprm").mkdir()
    (tmp_path / "erprm" / "__init__.py").write_text("raise SystemExit('another erprm')\n", encoding="utf-8")
    if sys.version_info >= (3, 11):
        (tmp_path / "difflib.py").write_text("raise SystemExit('another difflib')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert output_of_command(["--version"]).stdout == f"erprm {erprm.__version__}\n"
    assert "did you mean 'rollout'?" in output_of_command(["rolout"]).stderr


def test_output_and_status_of_a_command_are_kept(tmp_path: Path) -> None:
    assert run_command(["rolout"], tmp_path / "log") == 2
    assert run_command(["--version"], tmp_path / "log") == 0
    first, last = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert "unknown command 'rolout'" in first
    assert last == f"erprm {erprm.__version__}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_command_is_told_to_end_with_this_process_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    parent = start_parent(tmp_path / "log")
    pid = int(first_line_of(tmp_path / "log"))
    parent.send_signal(number)
    assert parent.wait(30) != 0
    assert (tmp_path / "log").read_text(encoding="utf-8").splitlines()[1:] == ["saved"]
    assert ends(pid)


def test_a_command_is_killed_when_this_process_is(tmp_path: Path) -> None:
    parent = start_parent(tmp_path / "log")
    pid = int(first_line_of(tmp_path / "log"))
    parent.kill()
    parent.wait(30)
    assert ends(pid)
