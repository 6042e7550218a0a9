"""A server on loopback that answers each request as a test tells it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# A body is a JSON value, the very bytes, or parts of it that are sent as they come, without a length beforehand.
Body = dict[str, Any] | bytes | Iterator[bytes]
Answer = Callable[[dict[str, Any]], tuple[int, Body]]


def slowly() -> Iterator[bytes]:
    """A body that never ends, a byte every tenth of a second."""
    while True:
        time.sleep(0.1)
        yield b" "


def without_end() -> Iterator[bytes]:
    """A body that never ends, as fast as it is read."""
    while True:
        yield b" " * 2**16


# What any server may send with status 200 in place of an answer, and what a message says of it.
NO_ANSWERS: dict[str, tuple[Callable[[], Body], str]] = {
    "empty": (lambda: b"", "an empty body, not JSON"),
    "garbage": (lambda: b"\xff\xfe\x00\x01", "not JSON"),
    "HTML": (lambda: b"<html>\x1b]0;owned\x07<b>502</b></html>", "<b>502</b></html>', not JSON"),
    "truncated": (lambda: b'{"choices": [{"index": 0, "te', "not JSON"),
    "nested without end": (lambda: b"[" * 200_000, "not JSON"),
    "number": (lambda: b"7", "it is 7"),
    "null": (lambda: b"null", "it is None"),
    "list": (lambda: b"[]", r"it is \[\]"),
    "another object": (lambda: {"detail": "\x1b[31mNot Found"}, r"\\x1b\[31mNot Found"),
    "drip-fed": (slowly, r"not complete within 1 s"),
    "endless": (without_end, "more than [0-9,]+ bytes"),
}


class FailingServer(ThreadingHTTPServer):
    """Answers each request as told; keeps the requests, and the paths that they went to."""

    def __init__(self, answer: Answer, models: Callable[[], Body] | None = None, **card: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.models = models or (lambda: {"object": "list", "data": [self.card]})
        self.card = {"id": "policy", "object": "model", **card}
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.base_url = f"{self.url}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: FailingServer

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send(*self.server.answer(self.server.requests[-1]))

    def do_GET(self) -> None:
        self._send(200, self.server.models())

    def _send(self, status: int, body: Body) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if isinstance(body, dict | bytes):
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            self.send_header("Content-Length", str(len(content)))
            parts = iter([content])
        else:
            self.send_header("Connection", "close")
            parts = body
        self.end_headers()
        for part in parts:
            try:
                self.wfile.write(part)
            except OSError:
                return  # The client has hung up.

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def failing_servers() -> Iterator[Callable[..., FailingServer]]:
    """A function that starts a :class:`FailingServer`; all of them end with the block."""
    servers = []

    def start(answer: Answer, models: Callable[[], Body] | None = None, **card: Any) -> FailingServer:
        server = FailingServer(answer, models, **card)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
