from pathlib import Path

import pytest

from erprm.data.hub import is_hub_id, load_hub_dataset


@pytest.mark.parametrize("text", ["openai/gsm8k", "HuggingFaceH4/MATH-500", "a/b_c.d"])
def test_owner_and_name_are_a_hub_id(text: str) -> None:
    assert is_hub_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "rollouts",
        "../rollouts",
        "./rollouts",
        "/runs/rollouts",
        "runs/1/data",
        "runs/a.parquet",
        "runs/a.jsonl",
        "~/a",
        "",
    ],
)
def test_a_path_is_no_hub_id(text: str) -> None:
    assert not is_hub_id(text)


def test_a_folder_that_is_there_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("runs/rollouts")
    (tmp_path / "runs" / "rollouts").mkdir(parents=True)
    assert not is_hub_id("runs/rollouts")


def test_a_data_set_that_cannot_be_loaded_is_named() -> None:
    # The suite runs without the hub.
    with pytest.raises(FileNotFoundError, match=r"rollout records: 'nobody/nothing' is no local path, and loading it"):
        load_hub_dataset("nobody/nothing", "rollout records")
