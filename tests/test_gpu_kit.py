"""The kit of ``make gpu`` on a CPU, at its smallest sizes, and without the packages that a GPU machine may lack."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as kit
from benchmarks.gpu import kernels
from benchmarks.gpu.models import batches, samples
from benchmarks.gpu.results import Results
from benchmarks.gpu.settings import Settings
from tests.conftest import REPOSITORY

MACHINE = {"device": "cpu"}
MAY_BE_MISSING = (
    "datasets", "jsonargparse", "math_verify", "latex2sympy2", "pyarrow", "nupunkt", "pandas", "hypothesis", "trl",
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of("cpu", tmp_path)


def test_kernels_are_compared_on_rows_that_solutions_share(settings: Settings) -> None:
    rows = list(kernels.rows(settings))
    assert {(row["dtype"], row["packing"]) for row in rows} == {
        (dtype, packing) for dtype in ("float32", "bfloat16") for packing in ("trees", "rows")
    }
    assert [row["kernel"] for row in rows] == ["sdpa", "auto"] * 4
    assert {row["auto took"] for row in rows if row["kernel"] == "auto"} == {"erprm_paths"}
    assert all(row["ok"] and 300 < row["tokens"] <= 512 for row in rows)


def test_a_kernel_whose_numbers_are_wrong_is_not_ok(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = kernels.outcome

    def doubled(*given: Any) -> kernels.Outcome:
        found = outcome(*given)
        if given[-1] == "auto":
            found.gradients[0].mul_(2)
        return found

    monkeypatch.setattr(kernels, "outcome", doubled)
    assert [row["ok"] for row in kernels.rows(settings)] == [True, False] * 4


def test_all_ways_train_and_score_the_same_solutions(settings: Settings) -> None:
    from benchmarks.gpu import speed

    peak, *rows = speed.rows(settings)
    assert peak["TFLOP/s"] > 0
    assert [(row["way"], row["phase"]) for row in rows] == [
        (way, phase) for way in speed.WAYS for phase in ("training", "scoring")
    ]
    assert all(row["tokens/s"] > 0 and row["MFU"] > 0 for row in rows)


def test_a_way_that_fails_leaves_the_others(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.gpu import speed

    def too_large(*_given: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    def broken(*_given: Any) -> Any:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(speed, "WAYS", {"a": too_large, "b": broken})
    _, *rows = speed.rows(settings)
    assert [(row["ok"], row["error"]) for row in rows] == [
        (True, "OutOfMemoryError: tried to allocate 2 GiB"),
        (False, "RuntimeError: no kernel"),
    ]


def test_trees_lay_out_less_than_rows_and_lose_no_step() -> None:
    solutions = samples(16)
    trees, rows = (batches(solutions, 2048, packing) for packing in ("trees", "rows"))
    for packed in (trees, rows):
        assert sum(len(batch.labels) for batch in packed) == sum(len(each.tags) for each in solutions)
        assert all(batch.input_ids.shape[1] <= 2048 for batch in packed)
    assert sum(b.input_ids.numel() for b in rows) == sum(len(each.ids) for each in solutions)
    assert sum(b.input_ids.numel() for b in trees) < 0.8 * sum(b.input_ids.numel() for b in rows)


def test_fsdp2_on_one_device_trains_as_without(settings: Settings) -> None:
    from benchmarks.gpu import fsdp

    plain, sharded = fsdp.rows(settings)
    assert (plain["strategy"], sharded["strategy"]) == ("auto", "fsdp2")
    assert plain["ok"], plain
    assert sharded["ok"], sharded
    assert sharded["weights of a device"] == plain["weights of a device"]


def test_the_estimate_of_memory_is_compared_with_a_step(settings: Settings) -> None:
    from benchmarks.gpu import memory

    rows = list(memory.rows(settings))
    assert len(rows) == len(memory.TINY)
    assert all(row["ok"] for row in rows), rows


def test_results_are_written_after_each_part_and_not_made_twice(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def rows(name: str, ok: bool = True) -> Any:
        def made(_settings: Settings) -> Any:
            calls.append(name)
            yield {"name": name, "ok": ok, "ms": 12345.678}

        return made

    def broken(_settings: Settings) -> Any:
        yield {"name": "half"}
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(kit, "PARTS", {"kernels": rows("kernels"), "speed": broken, "fsdp": rows("fsdp", ok=False)})
    out = tmp_path / "gpu.json"
    for _ in range(2):
        results = Results(out, MACHINE)
        for part in ("kernels", "speed", "fsdp"):
            kit.run_part(part, settings, results)
        assert results.wrong == ["speed", "fsdp"]
    assert calls == ["kernels", "fsdp"]
    written = json.loads(out.read_text(encoding="utf-8"))["parts"]
    assert written["speed"]["rows"] == [{"name": "half"}]
    assert written["speed"]["note"] == "RuntimeError: no such kernel"
    assert "| fsdp | NO | 12,346 |" in out.with_suffix(".md").read_text(encoding="utf-8")
    # Another machine's results are not continued.
    assert Results(out, {"device": "another"}).content["parts"] == {}


def test_a_part_that_does_not_fit_is_skipped_or_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "PARTS", {"kernels": lambda _settings: iter([{"row": 1}, {"row": 2}])})
    results = Results(tmp_path / "gpu.json", MACHINE)
    over = Settings.of("cpu", tmp_path, deadline=0.0)
    kit.run_part("kernels", over, results)
    assert results.content["parts"]["kernels"]["status"] == "skipped"
    monkeypatch.setattr(kit, "LEAST_MINUTES", float("-inf"))
    kit.run_part("kernels", over, results)
    assert results.content["parts"]["kernels"]["status"] == "cut off"
    assert results.content["parts"]["kernels"]["rows"] == [{"row": 1}]
    assert not results.has("kernels", over.described())


def test_results_have_a_name_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kit.main(["--device", "cpu", "--out", "results"])
    assert "--out is 'results'; the name must end in .json" in capsys.readouterr().err


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kit.main(["--device", "cpu", "--parts", "kernels,sped"])
    assert "--parts has 'sped'; it takes some of kernels,speed,fsdp,memory" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_a_gpu_the_kit_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kit.main([])
    assert "there is no CUDA device; --device cpu runs every part" in capsys.readouterr().err


def test_the_kit_runs_where_packages_are_missing(tmp_path: Path) -> None:
    # An interpreter that sees the installed packages but for these.
    site = tmp_path / "site"
    site.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith((*MAY_BE_MISSING, "__editable__", "erprm")) and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(site)])}
    script = (
        "import importlib.util, sys\n"
        "from benchmarks.gpu.__main__ import main\n"
        "assert importlib.util.find_spec('pyarrow') is None\n"
        f"sys.exit(main(['--device', 'cpu', '--parts', 'memory', '--out', {str(tmp_path / 'gpu.json')!r}]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.gpu
def test_kernels_agree_on_a_gpu(tmp_path: Path) -> None:
    rows = list(kernels.rows(Settings.of("cuda", tmp_path, widths=(512, 2048))))
    assert [row for row in rows if not row["ok"]] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("tests", "kit", "status"), [(3, 0, 3), (0, 1, 1), (0, 0, 0)])
def test_make_gpu_measures_even_if_a_test_fails_and_ends_with_its_status(
    tests: int, kit: int, status: int, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@"\ncase "$2" in pytest) exit {tests};; benchmarks.gpu) exit {kit};; esac\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    command = ["make", "gpu", f"PYTHON={python}", "MINUTES=7", f"WHEELS={tmp_path}"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("-m")]
    assert "--no-index" in lines[0]
    assert "-m gpu tests/" in lines[1]
    assert "tests/test_gpu_kit.py" in lines[1]
    assert lines[2] == "-m benchmarks.gpu --minutes 7"
    assert f"Error {status}" in ended.stderr if status else ended.returncode == 0
