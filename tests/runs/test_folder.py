import re
from pathlib import Path

import pytest

from erprm.raft.solutions import read_rows
from erprm.runs.folder import OutputFolderError, Parts, StageFolders

SETTINGS = {"threshold": 0.5, "sampling": {"n": 4}}


def test_a_stage_is_there_wholly_or_not_at_all(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        (folder / f".part.jsonl.{'0' * 32}.tmp").touch()  # what a kill leaves of a file that was to appear whole
        raise RuntimeError("killed")

    stages = StageFolders(tmp_path)
    assert not stages.is_done("round-1/samples", SETTINGS)
    with pytest.raises(RuntimeError):
        stages.make("round-1/samples", fail, SETTINGS)
    assert not stages.is_done("round-1/samples", SETTINGS)
    assert not (tmp_path / "round-1/samples").exists()
    stages.make("round-1/samples", lambda folder: None, SETTINGS)
    assert stages.is_done("round-1/samples", SETTINGS)
    # What was begun with the same settings was gone on with.
    assert {path.name for path in (tmp_path / "round-1/samples").iterdir()} == {"manifest.json", "half"}


def test_what_was_begun_with_other_settings_is_thrown_away(tmp_path: Path) -> None:
    stages = StageFolders(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        stages.make("scores", fail, SETTINGS)
    stages.make("scores", lambda folder: None, {**SETTINGS, "threshold": 0.4})
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["manifest.json"]


def test_a_stage_made_with_other_settings_is_refused_with_both_values_unless_asked_for(tmp_path: Path) -> None:
    StageFolders(tmp_path).make("scores", lambda folder: None, SETTINGS)
    now = {"threshold": 0.9, "sampling": {"n": 8}}
    message = re.escape(
        "scores' holds a stage with other settings:\n  sampling.n: 4 there, 8 now\n  threshold: 0.5 there, 0.9"
    )
    with pytest.raises(OutputFolderError, match=message):
        StageFolders(tmp_path).is_done("scores", now)
    assert StageFolders(tmp_path, allow_change=True).is_done("scores", now)


def test_the_hash_of_a_stage_stands_for_its_settings(tmp_path: Path) -> None:
    stages = StageFolders(tmp_path)
    for name, settings in (("a", SETTINGS), ("b", SETTINGS), ("c", {**SETTINGS, "threshold": None})):
        stages.make(name, lambda folder: None, settings)
    assert stages.hash_of("a") == stages.hash_of("b") != stages.hash_of("c")


def test_a_pruned_stage_is_done_and_takes_no_room(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "weights").write_text("x" * 1000)
        (folder / "parts").mkdir()
        (folder / "parts" / "0").touch()

    stages = StageFolders(tmp_path)
    stages.make("policy", fill, SETTINGS)
    stages.prune("policy")
    stages.prune("policy")
    stages.prune("nowhere")
    assert [path.name for path in (tmp_path / "policy").iterdir()] == ["manifest.json"]
    assert stages.is_done("policy", SETTINGS)


def test_a_stage_without_settings_is_made_anew_until_it_is_done(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    stages = StageFolders(tmp_path)
    with pytest.raises(RuntimeError):
        stages.make("policy", fail)
    assert not stages.is_done("policy")
    stages.make("policy", lambda folder: (folder / "whole").touch())
    assert stages.is_done("policy")
    assert [path.name for path in (tmp_path / "policy").iterdir()] == ["whole"]


def test_parts_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def work(items: object) -> list[dict[str, int]]:
        asked.append(list(items))  # type: ignore[call-overload]
        if 3 in asked[-1] and len(asked) == 2:
            raise RuntimeError("killed")
        return [{"number": item} for item in asked[-1]]

    with pytest.raises(RuntimeError):
        Parts(tmp_path, 2).make(range(5), work)
    Parts(tmp_path, 2).make(range(5), work)
    assert asked == [[0, 1], [2, 3], [2, 3], [4]]
    assert [row["number"] for row in read_rows(tmp_path)] == [0, 1, 2, 3, 4]
