import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    with pytest.raises(
        FileNotFoundError, match=r"rollout records: 'nobody/nothing' is not a local path, and loading it"
    ):
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
    assert message.startswith(
        "problems: 'nobody/nothing' is not a local path, and loading it as a hub data set failed: "
    )
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


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([b"\x1b[31mno status line\r\n\r\n"], r"does not speak HTTP: BadStatusLine\('\\x1b\[31mno status"),
        (itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"x")), "no whole answer within 10 s"),
    ],
)
def test_what_does_not_answer_as_a_hub_does_is_away_within_seconds(parts: Iterable[bytes], message: str) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(2**16)
            for part in parts:
                connection.sendall(part)
                time.sleep(0.2)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        started = time.monotonic()
        assert re.search(message, str(why_hub_is_away(f"http://127.0.0.1:{listening.getsockname()[1]}")))
        assert time.monotonic() - started < 20.0


NO_HUB = """
from erprm.data.files.hub import load_hub_dataset
from erprm.models.adapters.choice import choose_adapter
for read in (lambda kind: load_hub_dataset(kind, "rows"), lambda kind: choose_adapter(kind, "auto", None)):
    for kind in ("html", "negative", "huge"):
        try:
            read("nobody/" + kind)
        except (FileNotFoundError, ValueError) as error:
            print(repr(str(error)))
"""


class _NoHub(BaseHTTPRequestHandler):
    """Answers every path with status 200, and with no hub's answer: a web page, or sizes that no file has."""

    def do_GET(self) -> None:
        self.send_response(200)
        if "html" not in self.path:
            self.send_header("ETag", '"1"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("X-Linked-Size", "-5" if "negative" in self.path else "9" * 25)
        content = b"<html>Sign in</html>"
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_what_answers_in_place_of_a_hub_is_told(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", NO_HUB], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        server.shutdown()
    expected = [
        r"rows: 'nobody/html' is not a local path, .* is missing the 'X-Repo-Commit' header",
        r"rows: 'nobody/negative' is not a local path, .* file should be of size -5 but has size 20",
        r"rows: hub data set 'nobody/huge': The file is too large",
        r"'nobody/html' is not a local folder, and cannot be read from the hub: .*connect",
        r"'nobody/negative' cannot be found: .* file should be of size -5 but has size 20",
        r"'nobody/huge' cannot be found: The file is too large",
    ]
    for pattern, told in zip(expected, run.stdout.splitlines(), strict=True):
        assert re.search(pattern, told), told
