"""Programs are graded by the tests they pass, and hostile ones get what they earn and leave nothing behind."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from erprm.data.pools import PoolProblem, grade_pool
from erprm.data.sources import Problem
from erprm.errors import InputError
from erprm.grading import GradingError, open_grader, outcome_rewards
from erprm.grading.programs import ProgramGrader
from erprm.grading.programs.run_tests import literal_text
from erprm.grading.programs.unit_tests import program_in, read_tests
from tests.conftest import REPOSITORY
from tests.grading.namespaces import WHY_NOT, needs_namespaces

SQUARES = "assert f(2) == 4\nassert f(3) == 9"
SQUARE = "def f(x): return x * x\n"
LIMIT_S = 2.0


ISOLATIONS = [pytest.param("required", marks=needs_namespaces), "limits"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are graded on Linux only")


def sandboxes() -> list[psutil.Process]:
    """Those of this process, and those that no process has; tests beside this one have their own."""
    script = str(REPOSITORY / "erprm/grading/programs/enter_sandbox.py")
    here = psutil.Process()
    parent = here.parent()
    of_others = set(parent.children(recursive=True) if parent else ()) - set(here.children(recursive=True))
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if script in (process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and process not in of_others
    ]


def assert_no_process_is_left() -> None:
    give_up = time.monotonic() + 10
    while (left := sandboxes()) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert left == []


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert_no_process_is_left()
    assert list(tmp_path.glob("erprm-*")) == []


def grade(program: str, tests: str = SQUARES, isolation: Any = "required", **arguments: Any) -> float:
    """The reward, which is there in time: processor time twice over, and some to start and end on a busy machine."""
    grader = ProgramGrader(**{"timeout_s": LIMIT_S, "isolation": isolation, **arguments})
    begin = time.monotonic()
    reward = grader(program, tests)
    assert time.monotonic() - begin < 2 * LIMIT_S + 20
    return reward


# Honest programs. -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    ("program", "share"),
    [
        (SQUARE, 1.0),
        ("def f(x): return x + x", 0.5),
        ("def f(x): return x", 0.0),
        ("def g(x): return x * x", 0.0),
        ("def f(x): return x * x if x < 3 else 1 / 0", 0.5),
        ("def f(x) return x * x", 0.0),
        (SQUARE + "raise ValueError", 0.0),
        ("", 0.0),
        ("\0", 0.0),
        ("\ud800", 0.0),
        ("def f(x): return float(x * x)", 1.0),
        ("def f(x): return str(x * x)", 0.0),
        ("if __name__ == '__main__': 1 / 0\n" + SQUARE, 1.0),
        ("print('hello')\n" + SQUARE, 1.0),
        ("import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int'\ndef f(x): return A(x).x ** 2", 1.0),
        ("import decimal, hashlib, json, math, random, re, sqlite3, ssl\ndef f(x): return math.prod([x, x])", 1.0),
        ("import numpy\n" + SQUARE, 0.0),  # only the standard library is there
    ],
)
def test_the_reward_is_the_share_of_tests_passed(program: str, share: float, isolation: str) -> None:
    assert grade(program, isolation=isolation) == share


def test_a_batch_is_graded_in_order_and_equal_pairs_once() -> None:
    grader = ProgramGrader(isolation="limits", workers=2)
    third = "assert f(1) == 1\nassert f(2) == 4\nassert f(3) == 6"
    pairs = [(SQUARE, SQUARES), ("def f(x): return 2 * x", third), ("no program", SQUARES), (SQUARE, third)]
    assert grader.grade_batch(pairs * 2) == [1.0, 2 / 3, 0.0, 2 / 3] * 2
    assert grader.grade_batch([]) == []


def test_best_of_n_takes_the_grader_as_its_kind() -> None:
    setting = {"class_path": "erprm.grading.programs.ProgramGrader", "init_args": {"isolation": "limits"}}
    problem = Problem("p", "Square it.", SQUARES, "test")
    right, wrong = "def f(x): return x ** 2", "def f(x): return x + x"
    texts = (SQUARE, right, wrong, "def f(x): return 2 * x", wrong)
    pool = grade_pool([PoolProblem(problem, texts)], setting, "lines", correct_threshold=1.0)
    assert pool.correct_PN.tolist() == [[True, True, False, False, False]]
    # The two that pass vote together, and so do texts that are equal.
    assert pool.answers_PN.tolist() == [[0, 0, 1, 2, 1]]


@pytest.mark.parametrize(
    ("solution", "program"),
    [
        ("x = 1", "x = 1"),
        ("<think>\n```\nx = 0\n```\n</think>\n\nx = 1", "\n\nx = 1"),
        ("Try\n```python\nx = 0\n```\nbetter\n```py\nx = 1\n```\ndone", "x = 1\n"),
        ("```python\nx = 1\n```\nwhich prints\n```text\n1\n```", "x = 1\n"),
        ("1. So\n   ```Python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
        ("~~~\nx = 1\n~~~", "x = 1\n"),
        ("cut off:\n```python\nx = 1\ny =", "x = 1\ny ="),
        ("only\n```json\n{}\n```", "only\n```json\n{}\n```"),
    ],
)
def test_the_program_is_the_last_block_of_python(solution: str, program: str) -> None:
    assert program_in(solution) == program


def test_texts_of_values_are_equal_where_the_values_are() -> None:
    values = [None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 2**70, 2.0**70, 1j, 1 + 0j, "a", "1", "", "é", "\n", b"a",
              bytearray(b"a"), [], (), [1], (1,), [1, 2], [2, 1], [[1], 2], {1, 2}, frozenset({2, 1}), set(), {},
              {1: 2}, {1: 2, 3: 4}, {3: 4, 1: 2}, {2: 1}, "0x1", "[]", ..., float("inf"), 10**5000]  # fmt: skip
    for one, other in itertools.product(values, values):
        assert (literal_text(one) == literal_text(other)) == (one == other), (one, other)
        assert literal_text(one).isprintable()


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ("", "line 1: no test; expected lines assert CALL == LITERAL, such as assert double"),
        ("assert f(1) == 1\nassert f(2)", r"line 2: 'assert f\(2\)' is not a test; expected lines assert CALL =="),
        ("assert f(1) == f(2)", "line 1: .* is not a test"),
        ("assert f(1) is None", "line 1: .* is not a test"),
        ("assert 0 == f(1) == 1", "line 1: .* is not a test"),
        ("x = f(1) == 1", "line 1: .* is not a test"),
        ("f(1) == 1", "line 1: .* is not a test"),
        ("assert f(1) == 1\nassert f(1 == 1", r"line 2: 'assert f\(1 == 1' is not Python \(.*\); expected"),
        ("42", "line 1: '42' is not a test"),
        ("assert f(1) == " + "-" * 100_000 + "1", r"line 1: 'assert f\(1\) == -*\.\.\.' is not"),
        ("\0", "line 1"),
    ],
)
def test_a_gold_that_is_no_tests_is_refused_with_its_line(gold: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tests(gold)
    with pytest.raises(GradingError, match=f"grading: ProgramGrader.*InputError: gold of pair 2, {message}"):
        outcome_rewards(ProgramGrader(isolation="limits"), [(SQUARE, SQUARES), (SQUARE, gold)], key="grading")


def test_tests_may_take_several_lines_and_have_messages() -> None:
    gold = "assert f(\n    2\n) == 4, 'two'\n# three\nassert sorted(f(x) for x in [3]) == [9]\n"
    assert grade(SQUARE, gold, "limits") == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout_s": 0}, "timeout_s is 0; it must be a number of seconds above 0"),
        ({"memory_mb": 8}, "memory_mb is 8; it must be at least 64"),
        ({"workers": 0}, "workers is 0; it must be at least 1, or null"),
        ({"isolation": "none"}, "isolation is 'none'; it must be one of required, limits"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    setting = {"class_path": "erprm.grading.programs.ProgramGrader", "init_args": arguments}
    refused = pytest.raises(GradingError, match=f"kind: ProgramGrader cannot be made: ValueError: {message}")
    with refused, open_grader(setting, "kind"):
        pass


def test_a_machine_without_namespaces_is_refused_and_told_what_to_do() -> None:
    code = (
        "from erprm.grading.programs import ProgramGrader as P; "
        "print(P(isolation='limits')('x = 1', 'assert x == 1')); P()"
    )
    # In a user namespace of its own, in which no further one may be made.
    namespace = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces"
    if WHY_NOT or subprocess.run([*namespace, forbid], capture_output=True, check=False).returncode:
        pytest.skip("needs a user namespace to forbid others in")
    outer = [*namespace, f'{forbid} && exec {sys.executable} -c "{code}"']
    run = subprocess.run(outer, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert run.stdout == "1.0\n", run.stderr
    assert "SandboxError: programs cannot be isolated on this machine: unshare: No space left on device" in run.stderr
    assert "isolation: limits does without" in run.stderr


# Forgery: the expected values are never where the program is. ---------------------------------------------------------


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    "program",
    [
        "print('passed')\nimport os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "class Equal:\n    def __eq__(self, other): return True\ndef f(x): return Equal()",
        "class Equal(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def f(x): return Equal(7)",
        "import builtins\nbuiltins.hex = builtins.eval = builtins.isinstance = lambda *a: True\ndef f(x): return 7",
        "import sys\nsys._getframe(1).f_locals['calls'].clear()\ndef f(x): return 7",
        "import sys\ndef f(x):\n    found = repr([sys._getframe(i).f_locals for i in range(3)])\n"
        "    return 4 if 'expected' in found else 7",
        "class Trick:\n    def __reduce__(self): return (eval, ('4',))\ndef f(x): return Trick()",
        "import os, sys\nsys.stdout.write('ready\\n0x4\\n')\ndef f(x): return 7",
        "def f(x): return globals()",
        "def f(x):\n    while x: pass",
        "import ctypes\nctypes.string_at(0)",
    ],
)
def test_a_program_that_computes_nothing_passes_nothing(program: str, isolation: str) -> None:
    assert grade(program, isolation=isolation, timeout_s=1.0) == 0.0


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    "second",
    [
        "import sys; sys.exit()",
        "import os; os._exit(0)",
        "raise KeyboardInterrupt",
        "return 'x' * 50_000_000",
        "return 10 ** 100_000",
        "x = [0] * 10 ** 10",
        "y = []; y.append(y); return y",
        "y = []\n    for _ in range(10 ** 5): y = [y]\n    return y",
        "import sys; sys.setrecursionlimit(10 ** 9)\n    def g(): g()\n    g()",
        "while True: pass",
        "import time; time.sleep(1000)",
        "import threading; threading.Thread(target=f, args=(4,)).start(); threading.Event().wait()",
    ],
)
def test_a_call_that_fails_costs_its_own_test(second: str, isolation: str) -> None:
    program = f"def f(x):\n    if x == 2: return 4\n    {second}"
    assert grade(program, isolation=isolation, timeout_s=1.0) == 0.5


# Limits. --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_each_limit_is_set(isolation: str) -> None:
    names = ["CPU", "AS", "FSIZE", "NOFILE", "NPROC", "CORE"]
    hard = [2, 100 << 20, 16 << 20, 64, 64 if isolation == "required" else 0, 0]
    program = "import os, resource\ndef f(name): return resource.getrlimit(getattr(resource, name))"
    gold = "\n".join(f"assert f('RLIMIT_{name}') == {(n, n)}" for name, n in zip(names, hard, strict=True))
    assert grade(program, f"{gold}\nassert dict(os.environ) == {{}}", isolation, memory_mb=100) == 1.0
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY


ATTEMPT = """
import os, signal, socket, subprocess, sys, threading
def f(action):
    try:
        return action()
    except BaseException as error:
        return type(error).__name__
"""


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("os.fork()", "PermissionError"),
        ("subprocess.run(['true'])", "PermissionError"),
        ("os.execv('/bin/true', ['true'])", "PermissionError"),
        ("os.kill(os.getppid(), 0)", "PermissionError"),
        ("os.kill(-1, 0)", "PermissionError"),
        ("os.killpg(0, 0)", "PermissionError"),
        ("os.kill(os.getpid(), 0)", "PermissionError"),
        ("signal.raise_signal(0)", "PermissionError"),
        ("socket.socket()", "PermissionError"),
        ("socket.socket(socket.AF_UNIX)", "PermissionError"),
        ("os.memfd_create('x')", "PermissionError"),
    ],
)
def test_the_kernel_refuses_processes_signals_and_sockets(action: str, outcome: str, isolation: str) -> None:
    assert grade(ATTEMPT, f"assert f(lambda: {action}) == {outcome!r}", isolation) == 1.0


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "import os\nos.fork()",
        "import threading, time\nthreading.stack_size(32768)\nwhile True:\n"
        "    try: threading.Thread(target=time.sleep, args=(1000,)).start()\n    except BaseException: pass",
        "while True: print('x' * 10_000)",
        "import os\nwhile True:\n    for fd in range(64):\n        try: os.write(fd, b'0x7\\n' * 10_000)\n"
        "        except OSError: pass",
        "import os\nos.write(3, b'\\xff' * 10 ** 6)\nos.closerange(0, 64)",
        "x = []\nwhile True: x.append(bytearray(10 ** 6))",
        "while True: pass",
        "import signal\nfor s in range(1, 64):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\n"
        "while True: pass",
        "import os\nos.setsid() if os.getpid() != os.getsid(0) else 0\nwhile True: pass",
        "while True:\n    with open('file', 'ab') as file:\n        try: file.write(bytes(10 ** 6))\n"
        "        except OSError: pass",
        "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n1 / 0",
        "import os\nos.mkdir('d')\nopen('d/x', 'w').close()\nos.chmod('d', 0)\n1 / 0",
    ],
)
def test_a_hostile_program_gets_nothing_and_leaves_nothing(program: str, isolation: str) -> None:
    assert grade(program, isolation=isolation, timeout_s=0.4) == 0.0


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    "start",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n",
        "import atexit, time\natexit.register(time.sleep, 1000)\n",
        "class A:\n    def __del__(self):\n        while True: pass\na = A()\n",
        "import os, shutil\nshutil.rmtree(os.getcwd(), ignore_errors=True)\n",
    ],
)
def test_what_a_program_leaves_running_or_deletes_changes_no_reward(start: str, isolation: str) -> None:
    if "threading" in start and isolation == "limits" and os.getuid() != 0:
        pytest.skip("a program with limits alone starts no threads, unless root runs it")
    begin = time.monotonic()
    assert grade(start + SQUARE, isolation=isolation, timeout_s=300.0) == 1.0
    assert time.monotonic() - begin < 60


# Isolation. -----------------------------------------------------------------------------------------------------------


@needs_namespaces
def test_a_program_sees_no_file_but_the_library() -> None:
    with tempfile.TemporaryDirectory(prefix="canary-", dir=Path.home()) as folder:
        canary = Path(folder) / "canary"
        canary.write_text("secret", encoding="utf-8")
        gold = [
            f"assert f(lambda: open({str(canary)!r}).read()) == 'FileNotFoundError'",
            f"assert f(lambda: open({str(canary)!r}, 'w')) == 'FileNotFoundError'",
            f"assert f(lambda: os.listdir({str(REPOSITORY)!r})) == 'FileNotFoundError'",
            "assert f(lambda: os.listdir('/proc/self')) == 'FileNotFoundError'",
            "assert f(lambda: open('/etc/passwd')) == 'FileNotFoundError'",
            f"assert os.path.exists({folder!r}) == False",
            "assert f(lambda: open(os.__file__, 'a')) == 'OSError'",
            "assert f(lambda: os.chmod('/dev/null', 0)) == 'OSError'",
            "assert f(lambda: os.fchmod(0, 0)) == 'OSError'",
            "assert f(lambda: os.mkdir('/new')) == 'OSError'",
            "assert f(os.getcwd) == '/tmp'",
            "assert f(lambda: os.listdir('.')) == []",
            "assert f(os.getpid) == 1",
            "assert f(os.getppid) == 0",
        ]
        for test in gold:
            assert grade(ATTEMPT, test) == 1.0, test
        assert canary.read_text(encoding="utf-8") == "secret"


@needs_namespaces
def test_a_program_cannot_fill_more_than_its_folder() -> None:
    program = ATTEMPT + (
        "def fill():\n    for n in range(1000):\n        with open(str(n), 'wb') as file: file.write(bytes(10 ** 6))\n"
    )
    assert grade(program, "assert f(fill) == 'OSError'\nassert (10 < len(os.listdir('.')) < 20) == True") == 1.0


@needs_namespaces
def test_a_program_can_do_nothing_to_its_parents() -> None:
    program = (
        "import os, signal\nfor pid in [-1, 0, os.getppid(), *range(1, 1000), " + str(os.getpid()) + "]:\n"
        "    for s in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):\n"
        "        try: os.kill(pid, s)\n        except OSError: pass\n"
    )
    assert grade(program + SQUARE) == 1.0


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_program_reaches_no_socket_of_this_machine(isolation: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        action = f"socket.create_connection(('127.0.0.1', {port}), 1)"
        assert grade(ATTEMPT, f"assert f(lambda: {action}) == 'PermissionError'", isolation) == 1.0
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_programs_end_with_a_grading_process_that_is_killed(isolation: str, tmp_path: Path) -> None:
    code = (
        "from erprm.grading.programs import ProgramGrader\n"
        f"ProgramGrader(timeout_s=500, isolation={isolation!r})('import time; time.sleep(1000)', 'assert f() == 1')"
    )
    grading = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    try:
        give_up = time.monotonic() + 60
        while len(sandboxes()) < 2 and time.monotonic() < give_up:
            time.sleep(0.05)
        time.sleep(0.5)  # past the probe of the constructor
        assert len(sandboxes()) == 2
    finally:
        grading.send_signal(signal.SIGKILL)
        grading.wait()
    assert_no_process_is_left()
    for folder in tmp_path.glob("erprm-*"):  # of `limits`: who would delete it has been killed
        folder.rmdir()
