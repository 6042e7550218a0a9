"""Parts of a run, made at the same time or one after the other, into one folder or into several that are merged."""

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from erprm.cli import main
from erprm.data.records import read_records
from erprm.data.sources import Problem
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.labelling.summary import RolloutSummary
from erprm.rollout.running.reports import merge
from erprm.rollout.running.shards import ShardStore
from erprm.rollout.running.verification import verify
from erprm.runs.folder import OutputFolderError
from tests.engines.recorded_engine import RecordedEngine
from tests.rollout.conftest import make_word_tokenizer

REPOSITORY = Path(__file__).resolve().parents[3]
PROBLEMS = [Problem(f"p/{number}", f"{number} + 1 =", "4", "test") for number in range(7)]
PARTS = 3


def refuses_one(prompt: str) -> None:
    if prompt.startswith("3 "):
        raise RuntimeError("request refused")


def run(folder: Path, shard: str | None = None, **keys: Any) -> RolloutSummary:
    settings = {"solutions_per_problem": 2, "completions_per_step": 3, "problems_per_shard": 1, "grading": "gsm8k"}
    config = RolloutConfig("recorded", str(folder), shard=shard, **{**settings, **keys})
    engine = RecordedEngine(make_word_tokenizer(), before=refuses_one)
    return run_rollouts(config, engine, PROBLEMS, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / f"part-{index}" for index in range(PARTS)]
    for index, folder in enumerate(folders):
        run(folder, f"{index}/{PARTS}")
    return folders


def assert_equal(folder: Path, whole: Path) -> None:
    assert list(read_records(folder)) == list(read_records(whole))
    assert verify(folder).is_whole
    assert (folder / "rejected.jsonl").read_text("utf-8") == (whole / "rejected.jsonl").read_text("utf-8")


def test_parts_into_one_folder_make_the_run_and_the_last_sums_it_up(tmp_path: Path, whole: Path) -> None:
    first = run(tmp_path, "2/3")
    assert (first.problems, first.rejected_problems) == (2, 0)  # shards 2 and 5
    run(tmp_path, "0/3")
    assert not (tmp_path / "summary.json").exists()
    last = run(tmp_path, "1/3")
    assert (last.problems, last.rejected_problems) == (6, 1)
    assert_equal(tmp_path, whole)


def test_a_part_without_a_shard_has_nothing_to_do_and_binds_nobody(tmp_path: Path, whole: Path) -> None:
    assert run(tmp_path, "7/8").problems == 0
    for index in range(7):
        run(tmp_path, f"{index}/8")
    assert_equal(tmp_path, whole)


def test_parts_at_the_same_time_into_one_folder_make_the_run(tmp_path: Path, whole: Path) -> None:
    code = "import sys, pathlib, tests.rollout.running.test_reports as t; t.run(pathlib.Path(sys.argv[1]), sys.argv[2])"
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run"), f"{index}/{PARTS}"], cwd=REPOSITORY)
        for index in range(PARTS)
    ]
    assert [job.wait(timeout=900) for job in jobs] == [0] * PARTS
    assert_equal(tmp_path / "run", whole)


def test_a_part_with_other_settings_is_refused_even_before_the_first_shard(tmp_path: Path) -> None:
    # As another part leaves it that has just begun.
    ShardStore(tmp_path, {"seed": 0}, 7, shared=True).begin(model_sha256="recorded")
    with pytest.raises(OutputFolderError, match="seed: 0 there, 1 now"):
        run(tmp_path, "1/3", seed=1)


def test_a_folder_taken_over_by_another_run_is_noticed(tmp_path: Path) -> None:
    one, other = ShardStore(tmp_path, {"seed": 0}, 2), ShardStore(tmp_path, {"seed": 1}, 2)
    one.begin()
    other.begin()
    with pytest.raises(OutputFolderError, match="has meanwhile been taken over by a run with other settings"):
        one.write(0, [], {})
    other.write(0, [], {})


def test_merged_folders_are_the_run_and_merging_again_changes_nothing(
    tmp_path: Path, parts: list[Path], whole: Path
) -> None:
    for _ in range(2):
        assert main(["merge", str(tmp_path / "merged"), *map(str, parts)]) == 0
        assert_equal(tmp_path / "merged", whole)
    # The merged folder is a run like any other.
    assert run(tmp_path / "merged", retry_rejected=True).problems == 6


def test_a_missing_shard_is_named_and_merging_goes_on_once_it_is_there(
    tmp_path: Path, parts: list[Path], whole: Path
) -> None:
    held_back = parts[1] / ".shards" / "00004.json"
    away = shutil.move(held_back, tmp_path / "away")
    path = ShardStore.of_folder(parts[2]).records_path(5)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(OutputFolderError, match="2 of 7 shards are missing or damaged in every folder: 4, 5; run"):
        merge(tmp_path / "merged", parts)
    shutil.move(away, held_back)
    path.write_bytes(content)
    merge(tmp_path / "merged", parts)
    assert_equal(tmp_path / "merged", whole)


def test_a_shard_in_two_folders_is_refused_naming_both(tmp_path: Path, parts: list[Path]) -> None:
    shutil.copytree(parts[0], tmp_path / "again")
    with pytest.raises(
        OutputFolderError, match=r"3 shards are in several folders, the first, 0, in .*part-0 and .*again"
    ):
        merge(tmp_path / "merged", [*parts, tmp_path / "again"])
    assert not (tmp_path / "merged").exists()


def test_parts_with_other_settings_are_refused_with_both_values(
    tmp_path: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "other", "2/3", seed=5, completions_per_step=2)
    assert main(["merge", str(tmp_path / "merged"), str(parts[0]), str(parts[1]), str(tmp_path / "other")]) == 1
    message = capsys.readouterr().err
    assert "  seed: 0 in the first, 5 in the second\n" in message
    assert "  completions_per_step: 3 in the first, 2 in the second\n" in message


def test_a_folder_without_a_run_is_refused(tmp_path: Path, parts: list[Path]) -> None:
    with pytest.raises(OutputFolderError, match=r"nowhere' has no manifest\.json of a rollout run"):
        merge(tmp_path / "merged", [parts[0], tmp_path / "nowhere"])
