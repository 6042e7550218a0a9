"""The workers: time and memory limits, order, threads, processes, signals, cache."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from erprm.grading import Grader, WorkerStartError, grade

ALGEBRA = ("2\\sqrt{2}", "\\sqrt{8}")  # equal, but not without algebra
FOREVER = ("\\sum_{k=1}^{\\infty} \\sin(k^k)", "\\sqrt{8}")
INEQUALITIES = ("x^2 < 4", "x^2 \\le 4")  # left to math-verify


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2, timeout_s=60.0) as shared:  # generous: a loaded machine must not decide a verdict
        yield shared


def is_running(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def worker_pids(parent: int) -> list[int]:
    """The grading workers whose parent is `parent`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            status = (folder / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"erprm.grading.workers.worker" in command and f"\nPPid:\t{parent}\n" in status:
            found.append(int(folder.name))
    return found


def wait_until_gone(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(is_running(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_results_are_in_the_order_of_the_pairs(grader: Grader) -> None:
    pairs = [
        (f"{number}\\sqrt{{2}}", f"\\sqrt{{{2 * (number if number % 3 else number + 1) ** 2}}}")
        for number in range(2, 20)
    ]
    assert grader.grade_batch(pairs, "math") == [number % 3 != 0 for number in range(2, 20)]


def test_repeated_pairs_get_the_same_verdict(grader: Grader) -> None:
    assert grader.grade_batch([ALGEBRA, ("5", "6"), ALGEBRA, ALGEBRA], "math") == [True, False, True, True]


def test_a_pair_over_its_time_is_killed_counted_and_false() -> None:
    with Grader(timeout_s=3.0, workers=1) as grader:
        assert grader.grade_batch([ALGEBRA, FOREVER, ALGEBRA, ("3\\sqrt2", "\\sqrt{18}")], "math") == [
            True,
            False,
            True,
            True,
        ]
        assert [(entry.prediction, entry.gold, entry.reason) for entry in grader.killed] == [(*FOREVER, "time")]


def test_a_pair_that_waits_for_a_processor_is_not_given_up_at_once() -> None:
    with Grader(timeout_s=4.0, workers=1) as grader:
        before = set(worker_pids(os.getpid()))
        assert grader.grade_batch([ALGEBRA], "math") == [True]
        (pid,) = set(worker_pids(os.getpid())) - before
        os.kill(pid, signal.SIGSTOP)  # as on a machine that is too busy to run it
        threading.Timer(1.5, os.kill, (pid, signal.SIGCONT)).start()
        assert grader.grade_batch([("3\\sqrt{2}", "\\sqrt{18}")], "math") == [True]
        assert grader.killed == []


def test_no_pair_takes_more_than_twice_its_time() -> None:
    with Grader(timeout_s=1.0, workers=1) as grader:
        before = set(worker_pids(os.getpid()))
        assert grader.grade_batch([ALGEBRA], "math") == [True]
        (pid,) = set(worker_pids(os.getpid())) - before
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        assert grader.grade_batch([("3\\sqrt{2}", "\\sqrt{18}")], "math") == [False]
        assert time.monotonic() - start < 3  # 2, and what a busy machine adds
        assert [entry.reason for entry in grader.killed] == ["time"]


def test_a_pair_that_never_gets_processor_time_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text("import time\ndef verify(*_, **__): return time.sleep(600)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Grader(timeout_s=0.3, workers=1) as grader:
        assert grader.grade_batch([INEQUALITIES], "math") == [False]
        assert [(entry.prediction, entry.gold, entry.reason) for entry in grader.killed] == [(*INEQUALITIES, "time")]


def test_a_signal_handler_can_grade_while_the_grader_is_at_work() -> None:
    verdicts: list[bool] = []
    before = signal.signal(signal.SIGALRM, lambda *_: verdicts.append(grade("3\\sqrt{5}", "\\sqrt{45}", "math")))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert grade("7\\sqrt{5}", "\\sqrt{245}", "math")
        time.sleep(0.1)
        assert verdicts == [True]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_child_forked_while_another_thread_grades_can_grade() -> None:
    with Grader(timeout_s=3.0, workers=1) as grader:
        thread = threading.Thread(target=grader.grade_batch, args=([FOREVER], "math"))
        thread.start()
        time.sleep(0.5)
        context: Any = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=_grade_in_child, args=(grader, theirs), daemon=True)
        child.start()
        assert ours.poll(60)
        assert ours.recv() == [True, False]
        child.join(30)
        thread.join()


@pytest.mark.parametrize("as_script", [True, False], ids=["script", "command"])
def test_workers_import_nothing_from_the_working_folder(tmp_path: Path, as_script: bool) -> None:
    for name in ("random", "json", "sympy", "math_verify", "selectors"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'a').write('{name}')")
    code = f"""
import sys
sys.path[:] = [entry for entry in sys.path if entry not in ('', {str(tmp_path)!r})]
from erprm.grading import Grader
sys.path.insert(0, {str(tmp_path)!r})
with Grader(workers=1) as grader:
    print(grader.grade_batch([{ALGEBRA!r}], "math"))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, str(script)] if as_script else [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.stdout == "[True]\n", finished.stderr
    assert not (tmp_path / "executed").exists()


def test_a_pair_over_the_memory_limit_is_killed_and_false(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Formulas that exhaust memory also take minutes; a greedy stand-in for the last step does it at once.
    (tmp_path / "math_verify.py").write_text("def verify(*_, **__): return bool(bytearray(2 << 30))")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Grader(timeout_s=60.0, workers=1) as grader:
        assert grader.grade_batch([ALGEBRA, INEQUALITIES, ALGEBRA[::-1]], "math") == [True, False, True]
        assert [(entry.prediction, entry.gold, entry.reason) for entry in grader.killed] == [(*INEQUALITIES, "memory")]


def test_memory_limit_holds_inside_a_worker() -> None:
    code = textwrap.dedent(
        """
        from erprm.grading.workers.worker import _limit_memory
        _limit_memory(400)
        try:
            bytearray(500 * 1024 * 1024)
        except MemoryError:
            print("refused")
        """
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "refused\n"
    )


def test_the_callers_alarm_goes_off_as_set() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        with Grader(workers=1) as grader:
            assert grader.grade_batch([ALGEBRA], "math") == [True]
        time.sleep(0.5)
        assert rung == [1]
        assert signal.getsignal(signal.SIGALRM) is not before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_many_threads_share_one_grader(grader: Grader) -> None:
    verdicts: dict[int, list[bool]] = {}

    def work(number: int) -> None:
        pairs = [(f"{number}\\sqrt{{3}}", f"\\sqrt{{{3 * number**2}}}"), (f"{number}\\sqrt{{3}}", "\\sqrt{5}")]
        verdicts[number] = grader.grade_batch(pairs, "math")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert verdicts == {number: [True, False] for number in range(2, 8)}


def _grade_in_child(grader: Grader, connection: "multiprocessing.connection.Connection") -> None:
    connection.send(grader.grade_batch([ALGEBRA, ("3\\sqrt{2}", "\\sqrt{8}")], "math"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemonic_process_can_grade_with_its_parents_grader(grader: Grader, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    grader.grade_batch([ALGEBRA], "math")  # its workers run by now
    ours, theirs = context.Pipe()
    child = context.Process(target=_grade_in_child, args=(grader, theirs), daemon=True)
    child.start()
    assert ours.poll(60)
    assert ours.recv() == [True, False]
    child.join(30)
    assert grader.grade_batch([("5\\sqrt{2}", "\\sqrt{50}")], "math") == [True]  # the parent's workers are untouched


class GradedPairs(Dataset[bool]):
    """A data set whose items are graded where they are loaded."""

    def __init__(self, grader: Grader) -> None:
        self.grader = grader

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> bool:
        return self.grader.grade_batch([(f"{index + 2}\\sqrt{{7}}", f"\\sqrt{{{7 * (index + 2) ** 2}}}")], "math")[0]


def test_grading_works_inside_data_loader_workers(grader: Grader) -> None:
    loader: DataLoader[bool] = DataLoader(GradedPairs(grader), batch_size=2, num_workers=1)
    assert [batch.tolist() for batch in loader] == [[True, True], [True, True]]


def test_no_process_is_left_after_close() -> None:
    with Grader(workers=2) as grader:
        grader.grade_batch([ALGEBRA, ("3\\sqrt2", "\\sqrt{18}")], "math")
        workers = worker_pids(os.getpid())
        assert len(workers) >= 2
    assert wait_until_gone([pid for pid in workers if pid not in worker_pids(os.getpid())], 5)
    assert grader.grade_batch([("7\\sqrt2", "\\sqrt{98}")], "math") == [True]  # and it can be used again
    grader.close()


@pytest.mark.parametrize("pair", [ALGEBRA, FOREVER], ids=["idle", "busy"])
def test_no_worker_outlives_a_killed_parent(pair: tuple[str, str]) -> None:
    code = textwrap.dedent(
        f"""
        import time
        from erprm.grading import Grader
        grader = Grader(timeout_s=3, workers=1)
        print(grader.grade_batch([{ALGEBRA!r}], "math"), flush=True)
        grader.grade_batch([{pair!r}], "math")
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"[True]\n"
        workers = worker_pids(parent.pid)
        assert len(workers) == 1
        parent.kill()
        parent.wait()
    assert wait_until_gone(workers, 10)


def test_a_worker_loads_neither_torch_nor_lightning() -> None:
    code = textwrap.dedent(
        """
        import sys
        import erprm.grading.workers.worker, erprm.grading.answers.symbolic, erprm.grading.answers.compare
        print([name for name in ("torch", "lightning", "numpy", "transformers") if name in sys.modules])
        """
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_and_grading_numbers_loads_no_sympy() -> None:
    code = textwrap.dedent(
        """
        import sys
        from erprm.grading import grade
        assert grade("#### 18", "#### 18")
        assert grade("1,000.0", "1000", "math")
        assert not grade("(1, 2]", "(1, 2)", "math")
        print([name for name in ("sympy", "math_verify", "torch") if name in sys.modules])
        """
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_failing_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('No module named math_verify')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WorkerStartError, match=r"No module named math_verify.*pip install math-verify"):
        Grader(workers=1).grade_batch([ALGEBRA], "math")


def test_cache_answers_without_a_worker(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    with Grader(workers=1, cache_path=path) as first:
        assert first.grade_batch([ALGEBRA, ("3\\sqrt{2}", "\\sqrt{8}")], "math") == [True, False]
    before = worker_pids(os.getpid())
    with Grader(workers=1, cache_path=path) as second:
        assert second.grade_batch([("3\\sqrt{2}", "\\sqrt{8}"), ALGEBRA], "math") == [False, True]
        assert worker_pids(os.getpid()) == before


def test_a_killed_pair_is_not_cached(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.sqlite"
    with Grader(timeout_s=0.5, workers=1, cache_path=path) as first:
        assert first.grade_batch([FOREVER], "math") == [False]
    with Grader(timeout_s=0.5, workers=1, cache_path=path) as second:
        assert second.grade_batch([FOREVER], "math") == [False]
        assert len(second.killed) == 1


def test_a_file_that_is_no_cache_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)
    with pytest.raises(ValueError, match=r"cache_path: .*notes\.txt cannot be used"):
        Grader(cache_path=path)
    with pytest.raises(ValueError, match=r"cache_path: .*missing"):
        Grader(cache_path=tmp_path / "missing" / "verdicts.sqlite")


def test_settings_survive_pickling(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(Grader(timeout_s=2.5, memory_mb=700, workers=3, cache_path=tmp_path / "v.sqlite")))
    assert (copy.timeout_s, copy.memory_mb, copy.workers) == (2.5, 700, 3)
    assert copy.grade_batch([("5", "5")], "math") == [True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout_s": 0}, "timeout_s: got 0, expected seconds > 0"),
        ({"timeout_s": float("nan")}, "timeout_s: got nan"),
        ({"memory_mb": 100}, "memory_mb: got 100, expected at least 256"),
        ({"workers": 0}, "workers: got 0, expected at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grader(**arguments)  # type: ignore[arg-type]


def test_bad_pairs_and_kinds_are_refused() -> None:
    grader = Grader()
    with pytest.raises(TypeError, match=r"pairs\[1\]: got \('5', None\), expected \(prediction text, gold text\)"):
        grader.grade_batch([("5", "5"), ("5", None)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="kind: got 'gsm', expected one of"):
        grader.grade_batch([], "gsm")  # type: ignore[arg-type]


def test_texts_without_an_answer_grade_false() -> None:
    assert Grader().grade_batch([("", "5"), ("5", ""), ("no idea", "#### 5"), ("", "")]) == [False] * 4


def test_a_truncated_prediction_needs_a_closed_answer() -> None:
    pairs = [("We get $x = 5", "5"), ("We get 5.", "5"), ("It is \\boxed{5}. Let us", "5"), ("We get 5.", "5")]
    assert Grader().grade_batch(pairs, "math", truncated=[True, True, True, False]) == [False, False, True, True]
    with pytest.raises(ValueError, match="truncated: got 1 flags for 4 pairs"):
        Grader().grade_batch(pairs, "math", truncated=[True])


def test_kind_auto_follows_the_gold() -> None:
    assert grade("The answer is 5 apples, not 6.", "He has\n#### 5")
    assert grade("so \\boxed{\\frac{1}{2}}", "0.5")
    assert not grade("so \\boxed{\\frac{1}{2}}", "#### 2")


def test_replies_survive_any_text(grader: Grader) -> None:
    odd = ["\ud800\\sqrt{8}", "\x00\\sqrt{8}", '"]\n["\\sqrt{8}', "\\sqrt{8}\r\n"]
    assert grader.grade_batch([(text, "2\\sqrt{2}") for text in odd], "math") == [True, True, False, True]
    assert json.loads(json.dumps(odd[0])) == odd[0]
