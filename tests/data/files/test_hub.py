import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from erprm.data.files.hub import is_hub_id, load_hub_dataset, why_hub_is_away
from tests.conftest import REPOSITORY
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


LOAD = """
import time
import datasets
from erprm.data.files.hub import load_hub_dataset
started = time.perf_counter()
try:
    load_hub_dataset("nobody/nothing", "problems")
except FileNotFoundError as error:
    print(time.perf_counter() - started, error)
"""


def test_a_hub_that_is_away_is_told_at_once(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound but not listening
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        # The suite itself has told the libraries that there is no hub, which they read when they are imported.
        environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", LOAD], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
    seconds, _, message = run.stdout.partition(" ")
    assert message.startswith("problems: 'nobody/nothing' is no local path, and loading it as a hub data set failed: ")
    assert f"cannot reach {endpoint}: " in message
    # huggingface_hub alone takes 24 seconds.
    assert float(seconds) < 15


def test_a_hub_that_answers_whatever_it_says_is_not_away() -> None:
    with socket.socket() as closed:  # bound but not listening
        closed.bind(("127.0.0.1", 0))
        assert "refused" in str(why_hub_is_away(f"http://127.0.0.1:{closed.getsockname()[1]}"))
    with failing_servers() as start:
        # It knows no HEAD, and says so.
        assert why_hub_is_away(start(lambda _: (500, {})).url) is None
