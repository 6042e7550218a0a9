import socket
import time
from pathlib import Path

import pytest

from erprm.data.hub import is_hub_id, load_hub_dataset, why_hub_is_away
from tests.failing_server import failing_servers


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


def test_a_hub_that_is_away_is_told_at_once() -> None:
    started = time.perf_counter()
    with pytest.raises(FileNotFoundError, match=r"cannot reach https://huggingface\.co: "):
        load_hub_dataset("nobody/nothing", "problems")
    # huggingface_hub alone takes 23 seconds.
    assert time.perf_counter() - started < 15


def test_a_hub_that_answers_whatever_it_says_is_not_away() -> None:
    with socket.socket() as closed:  # bound but not listening
        closed.bind(("127.0.0.1", 0))
        assert "refused" in str(why_hub_is_away(f"http://127.0.0.1:{closed.getsockname()[1]}"))
    with failing_servers() as start:
        # It knows no HEAD, and says so.
        assert why_hub_is_away(start(lambda _: (500, {})).url) is None
