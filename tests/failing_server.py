"""A server on loopback that answers each request as a test tells it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class FailingServer(ThreadingHTTPServer):
    """Answers each request as told; keeps the requests, and the paths that they went to."""

    def __init__(self, answer: Answer, **card: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
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
        self._send(200, {"object": "list", "data": [self.server.card]})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def failing_servers() -> Iterator[Callable[..., FailingServer]]:
    """A function that starts a :class:`FailingServer`; all of them end with the block."""
    servers = []

    def start(answer: Answer, **card: Any) -> FailingServer:
        server = FailingServer(answer, **card)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
