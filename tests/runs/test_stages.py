import re
from pathlib import Path

import pytest

from erprm.raft.solutions import read_rows, write_in_parts
from erprm.raft.stage_folders import ChangedSettingsError, StageFolders, sole_use_of

SETTINGS = {"threshold": 0.5, "sampling": {"n": 4}}


def test_a_stage_is_there_wholly_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        (folder / f".part.jsonl.{'0' * 32}.tmp").touch()  # what a kill leaves of a file that was to appear whole
        raise RuntimeError("killed")

    stages = StageFolders(tmp_path)
    assert not stages.is_done("round-1/samples", SETTINGS)
    with pytest.raises(RuntimeError):
        stages.make("round-1/samples", SETTINGS, fail)
    assert not stages.is_done("round-1/samples", SETTINGS)
    assert not (tmp_path / "round-1/samples").exists()
    stages.make("round-1/samples", SETTINGS, lambda folder: None)
    assert stages.is_done("round-1/samples", SETTINGS)
    # What was begun with the same settings was gone on with.
    assert {path.name for path in (tmp_path / "round-1/samples").iterdir()} == {"manifest.json", "half"}


def test_what_was_begun_with_other_settings_is_thrown_away(tmp_path: Path) -> None:
    stages = StageFolders(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        stages.make("scores", SETTINGS, fail)
    stages.make("scores", {**SETTINGS, "threshold": 0.4}, lambda folder: None)
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["manifest.json"]


def test_a_stage_made_with_other_settings_is_refused_with_both_values_unless_asked_for(tmp_path: Path) -> None:
    StageFolders(tmp_path).make("scores", SETTINGS, lambda folder: None)
    now = {"threshold": 0.9, "sampling": {"n": 8}}
    message = re.escape(
        "scores' was made with other settings:\n  sampling.n: 4 there, 8 now\n  threshold: 0.5 there, 0.9"
    )
    with pytest.raises(ChangedSettingsError, match=message):
        StageFolders(tmp_path).is_done("scores", now)
    assert StageFolders(tmp_path, allow_change=True).is_done("scores", now)


def test_the_hash_of_a_stage_stands_for_its_settings(tmp_path: Path) -> None:
    stages = StageFolders(tmp_path)
    for name, settings in (("a", SETTINGS), ("b", SETTINGS), ("c", {**SETTINGS, "threshold": None})):
        stages.make(name, settings, lambda folder: None)
    assert stages.hash_of("a") == stages.hash_of("b") != stages.hash_of("c")


def test_a_pruned_stage_is_done_and_takes_no_room(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "weights").write_text("x" * 1000)
        (folder / "parts").mkdir()
        (folder / "parts" / "0").touch()

    stages = StageFolders(tmp_path)
    stages.make("policy", SETTINGS, fill)
    stages.prune("policy")
    stages.prune("policy")
    stages.prune("nowhere")
    assert [path.name for path in (tmp_path / "policy").iterdir()] == ["manifest.json"]
    assert stages.is_done("policy", SETTINGS)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        sole_use_of(tmp_path),
        pytest.raises(ValueError, match="another run is writing into it"),
        sole_use_of(tmp_path),
    ):
        pass
    with sole_use_of(tmp_path):
        pass


def test_parts_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def work(items: object) -> list[dict[str, int]]:
        asked.append(list(items))  # type: ignore[call-overload]
        if 3 in asked[-1] and len(asked) == 2:
            raise RuntimeError("killed")
        return [{"number": item} for item in asked[-1]]

    with pytest.raises(RuntimeError):
        write_in_parts(tmp_path, 2, range(5), work)
    write_in_parts(tmp_path, 2, range(5), work)
    assert asked == [[0, 1], [2, 3], [2, 3], [4]]
    assert [row["number"] for row in read_rows(tmp_path)] == [0, 1, 2, 3, 4]
